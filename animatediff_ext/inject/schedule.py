"""The noise schedule that a motion module was trained with, given to a model for a while."""

from __future__ import annotations

from collections.abc import Callable

import torch

from animatediff_ext.inject.sites import MisfitError
from animatediff_ext.motion import NoiseSchedule

_ATTRIBUTES = ("alphas_cumprod", "alphas_cumprod_original")
"""The WebUI derives the first from the second before each sampling (settings that downcast or rescale it)."""
_TABLES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sqrt_alphas_cumprod": lambda alphas: alphas.sqrt(),
    "sqrt_one_minus_alphas_cumprod": lambda alphas: (1 - alphas).sqrt(),
    "sqrt_recip_alphas_cumprod": lambda alphas: (1 / alphas).sqrt(),
    "sqrt_recipm1_alphas_cumprod": lambda alphas: (1 / alphas - 1).sqrt(),
}
"""What LDM computes from them, where a model has it: ControlNet's inpainting, tiles and reference read pictures out of
x_t, and put them into it, by these."""


class ScheduleOverride:
    """Holds a model's ``alphas_cumprod`` at another schedule, until `restore`.

    `apply` may be called again at any time: a checkpoint that was loaded into the same model meanwhile has brought
    its own schedule, and it is then this one that `restore` gives back.
    """

    def __init__(self, model, schedule: NoiseSchedule):
        self._model = model
        self._schedule = schedule.alphas_cumprod()
        self._saved: dict[str, torch.Tensor] = {}
        self._placed: dict[str, _State] = {}
        self._values: list[torch.Tensor] = []

    def apply(self, derive: Callable[[], None] = lambda: None) -> bool:
        """Put the schedule in place. True if it was not there: samplers made before have another one.

        ``derive`` is called then; it may make the first attribute anew from the second. Raises `MisfitError` for a
        model with another number of timesteps.
        """
        names = [name for name in _ATTRIBUTES if hasattr(self._model, name)]
        known = len(getattr(self._model, names[-1]))
        if len(self._schedule) != known:
            raise MisfitError(
                f"The motion module was trained with {len(self._schedule)} timesteps of noise, but the loaded "
                f"checkpoint has {known}: choose a motion module with as many."
            )
        there = self._state(names[-1])
        if self._placed and there == self._placed[names[-1]]:
            return False
        wanted = dict.fromkeys(names, self._schedule) | {
            name: table(self._schedule) for name, table in _TABLES.items() if hasattr(self._model, name)
        }
        still_saved = self._saved if self._saved and self._is_ours(names[-1]) else {}
        self._saved = {name: getattr(self._model, name) for name in wanted} | still_saved
        for name, value in wanted.items():
            # a tensor of its own each time: loading a checkpoint may write into it
            setattr(self._model, name, value.to(self._saved[name], copy=True))
        derive()
        self._placed = {name: self._state(name) for name in names}
        self._values = [_value(getattr(self._model, name)) for name in names]
        return True

    def _is_ours(self, name: str) -> bool:
        """By value: a model that moves between devices has new tensors, and a checkpoint that brings no schedule leaves
        it with what it had, which is then ours or what was derived from it."""
        there = _value(getattr(self._model, name))
        return any(torch.equal(there, value) for value in self._values)

    def restore(self) -> None:
        for name, value in self._saved.items():
            setattr(self._model, name, value)
        self._saved, self._placed = {}, {}

    def _state(self, name: str) -> _State:
        tensor = getattr(self._model, name)
        return _State(tensor, tensor._version)


def _value(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", torch.float32, copy=True)


class _State:
    """A tensor as it is now. Another one, or something written into it, is not equal; its values, for which a GPU would
    have to be waited for at every step, are not looked at."""

    def __init__(self, tensor: torch.Tensor, version: int):
        self._tensor = tensor
        self._version = version

    def __eq__(self, other) -> bool:
        return self._tensor is other._tensor and self._version == other._version

    __hash__ = None
