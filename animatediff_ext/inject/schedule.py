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
        self._schedule = schedule.alphas_cumprod()
        self._saved: dict[str, torch.Tensor] = {}
        self._placed: tuple[int, int] | None = None

    def apply(self) -> bool:
        """Put the schedule in place. True if it was not there: samplers made before have another one."""
        names = [name for name in _ATTRIBUTES if hasattr(self._model, name)]
        if self._placed and self._placed == _identity(getattr(self._model, names[-1])):
            return False
        self._saved = {name: getattr(self._model, name) for name in names}
        for name in names:
            # a tensor of its own each time: loading a checkpoint may write into it
            setattr(self._model, name, self._schedule.to(self._saved[name], copy=True))
        self._placed = _identity(getattr(self._model, names[-1]))
        return True

    def restore(self) -> None:
        for name, value in self._saved.items():
            setattr(self._model, name, value)
        self._saved, self._placed = {}, None


def _identity(tensor: torch.Tensor) -> tuple[int, int]:
    """Changes when another tensor is there and when something was written into this one; no look at its values, for
    which a GPU would have to be waited for at every step."""
    return id(tensor), tensor._version
