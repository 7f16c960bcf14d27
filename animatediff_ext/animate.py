"""One generation, whatever the host: which windows, which modules in which UNet, and nothing left behind.

A host resolves its settings, opens a `Session` around its own sampling, and tells it before each evaluation of the
model which step it is and which UNet will be called.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import nn

from animatediff_ext.context import SCHEDULES, WEIGHTS, Window, fused
from animatediff_ext.inject import Injection, Placement, ScheduleOverride, injected
from animatediff_ext.inject.rows import RowLayout
from animatediff_ext.motion import MotionModel
from animatediff_ext.params import Animation, Context
from animatediff_ext.setting import SettingsError


def windows_of(context: Context, num_frames: int, step: int = 0) -> list[Window]:
    """The windows of one step, with their weights."""
    windows = SCHEDULES[_schedule_name(context)](
        num_frames, length=context.length, overlap=context.overlap_frames, stride=context.stride, step=step
    )
    return fused(windows, curve=WEIGHTS[context.weights], overlap=context.overlap_frames)


def _schedule_name(context: Context) -> str:
    """*Closed loop* joins the ends of windows that move: R-P and R+P with as few windows as possible, A with the
    overlap kept over the seam. Windows that stay in place, and N, do not join."""
    if context.schedule == "static":
        return "static"
    if context.closed_loop == "A":
        return "looped often"
    return "uniform" if context.schedule == "uniform" and context.closed_loop == "N" else "looped"


def check_context(animation: Animation, motion: MotionModel) -> None:
    """Raises `SettingsError` if a window is longer than the motion module's position table."""
    length = min(animation.context.length, animation.num_frames)
    known = motion.config.num_positions
    if length > known:
        raise SettingsError(
            f"Context batch size is {animation.context.length}, but the motion module ({motion.config.family.title}) "
            f"knows {known} positions: set it to at most {known}."
        )


class Session:
    """Motion modules around one sampling. Use it in a ``with``; on leaving, every UNet and model is as it was."""

    def __init__(
        self,
        animation: Animation,
        motion: MotionModel,
        *,
        streams_at_once: int | None = None,
        before_call: Callable[[], None] | None = None,
    ):
        check_context(animation, motion)
        self.animation = animation
        self.motion = motion
        self.step = 0
        self._streams_at_once = streams_at_once
        self._before_call = before_call
        self._unet: nn.Module | None = None
        self._injection: Injection | None = None
        self._attached = ExitStack()
        self._placement = Placement(motion)
        self._schedules: dict[int, ScheduleOverride] = {}

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_exception) -> None:
        self.detach()
        for override in self._schedules.values():
            override.restore()
        self._schedules.clear()
        self._placement.back()  # between samplings, graphics memory belongs to the host

    def attach(self, unet: nn.Module, *, device: torch.device, dtype: torch.dtype) -> None:
        """Put the motion modules into this UNet, if they are not in it already; out of the one where they were.

        Raises `MisfitError` if they do not fit.
        """
        if unet is self._unet:
            return
        self.detach()
        self._placement.to(device, dtype)
        self._injection = self._attached.enter_context(
            injected(
                unet,
                self.motion,
                num_frames=self.animation.num_frames,
                windows=lambda: windows_of(self.animation.context, self.animation.num_frames, self.step),
                streams_at_once=self._streams_at_once,
                before_call=self._before_call,
            )
        )
        self._unet = unet

    def detach(self) -> None:
        self._unet = self._injection = None
        self._attached.close()

    def use_schedule(self, model, derive: Callable[[], None] = lambda: None) -> bool:
        """Give a model the motion module's noise schedule. True if it was not in place: samplers must be made anew.

        ``derive`` is called after a change, for what the host makes of the schedule.
        """
        override = self._schedules.setdefault(id(model), ScheduleOverride(model, self.motion.config.family.schedule))
        return override.apply(derive)

    def use_rows(self, layout: RowLayout) -> None:
        """The order of rows in the calls that follow."""
        self._injection.rows = layout
