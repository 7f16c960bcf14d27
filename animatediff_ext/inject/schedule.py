"""The noise schedule that a motion module was trained with, given to a model for a while."""

from __future__ import annotations

import torch

from animatediff_ext.motion import NoiseSchedule

_ATTRIBUTES = ("alphas_cumprod", "alphas_cumprod_original")
"""The WebUI derives the first from the second before each sampling (settings that downcast or rescale it)."""


class ScheduleOverride:
    """Holds a model's ``alphas_cumprod`` at another schedule, until `restore`.

    `apply` may be called again at any time: a checkpoint that was loaded into the same model meanwhile has brought
    its own schedule, and it is then this one that `restore` gives back.
    """

    def __init__(self, model, schedule: NoiseSchedule):
        self._model = model
        self._ours = schedule.alphas_cumprod()
        self._saved: dict[str, torch.Tensor] = {}

    def apply(self) -> bool:
        """Put the schedule in place. True if it was not there: samplers made before have another one."""
        names = [name for name in _ATTRIBUTES if hasattr(self._model, name)]
        base = getattr(self._model, names[-1])
        ours = self._ours.to(base)
        if self._saved and torch.equal(base, ours):
            return False
        self._saved = {name: getattr(self._model, name) for name in names}
        for name in names:
            # a tensor of its own each time: loading a checkpoint may write into it
            setattr(self._model, name, ours.clone())
        return True

    def restore(self) -> None:
        for name, value in self._saved.items():
            setattr(self._model, name, value)
        self._saved = {}
