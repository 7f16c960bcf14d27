"""One generation, whatever the host: which windows, which modules in which UNet, and nothing left behind.

A host resolves its settings, opens a `Session` around its own sampling, and tells it before each evaluation of the
model which step it is and which UNet will be called.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import replace

import torch
from torch import nn

from animatediff_ext.context import SCHEDULES, WEIGHTS, Window, fused, old_windows
from animatediff_ext.direct import Director, LoraWeight, check_blocks, loras_of
from animatediff_ext.formats import LoraFile
from animatediff_ext.inject import Direction, Injection, Placement, ScheduleOverride, injected, memory
from animatediff_ext.inject.attach import Blend, Call
from animatediff_ext.inject.rows import RowLayout
from animatediff_ext.motion import MotionModel, advice
from animatediff_ext.motion_loras import loras_attached
from animatediff_ext.params import Animation, Context
from animatediff_ext.setting import SettingsError


def windows_of(context: Context, num_frames: int, step: int = 0) -> list[Window]:
    """The windows of one step, with their weights."""
    windows = SCHEDULES[context.schedule_in_force](
        num_frames, length=context.length, overlap=context.overlap_frames, stride=context.stride, step=step
    )
    return fused(windows, curve=WEIGHTS[context.weights], overlap=context.overlap_frames)


def _windows_of_old(animation: Animation, step: int) -> list[Window]:
    context = animation.context
    return old_windows(
        animation.num_frames,
        length=context.length,
        overlap=context.overlap_frames,
        stride=context.stride,
        closed_loop=context.closed_loop,
        step=step,
    )


def blend_of(models: Sequence[MotionModel], animation: Animation) -> Blend:
    """One motion model, or two with their shares; none that counts nothing."""
    share = animation.motion.second_share if len(models) > 1 else 0.0
    return _effective(list(zip(models, (1 - share, share), strict=False)))


def advice_for(animation: Animation, blend: Blend, **sampling) -> list[str]:
    """What of the sampling cannot work with the motion module, see `motion.advice`."""
    context_length = min(animation.context.length, animation.num_frames)
    return advice(blend[0][0].config.family, context_length=context_length, **sampling)


def check_motion(animation: Animation, blend: Blend) -> None:
    """Raises `SettingsError` for settings of a resolved animation that these motion models cannot follow."""
    Director(animation)
    loras_of(animation)
    check_blocks(animation.motion.blocks, [site for motion, _ in blend for site in motion.config.sites()])
    for motion, _ in blend:
        check_positions(animation, motion.config.num_positions, f"the motion module ({motion.config.family.title})")
    schedules = {motion.config.family.schedule: motion.config.family.title for motion, _ in blend}
    if len(schedules) > 1:
        raise SettingsError(
            f"{' and '.join(schedules.values())} cannot be blended, since they were trained on different noise: choose "
            "two motion modules of one family."
        )


def check_positions(animation: Animation, known: int, whose: str) -> None:
    """Raises `SettingsError` where ``whose`` table of positions is too short for a context."""
    length = min(animation.context.length, animation.num_frames)
    if length > known and animation.motion.positions == "refuse":
        raise SettingsError(
            f"Context batch size is {animation.context.length}, but {whose} takes at most {known} frames together: "
            f"set it to at most {known}, or choose stretch, interpolate or cap under Contexts longer than the module's "
            "maximum (motion_positions)."
        )


def long_clips_settled(
    animation: Animation,
    unet: nn.Module,
    blend: Blend,
    *,
    num_rows: int,
    height: int,
    width: int,
    device: torch.device,
    dtype: torch.dtype,
    guests: Collection[nn.Module] = (),
) -> Animation:
    """With *auto* settled for long clips, for calls of this size (of the latent) in this UNet, within which models of
    ``guests`` work too."""
    context = animation.context
    if context.long_clips != "auto" or animation.num_frames <= context.length:
        return animation
    models, size = [motion for motion, _ in blend], {"num_rows": num_rows, "height": height, "width": width}
    fits = memory.fits(unet, models, guests=guests, device=device, dtype=dtype, **size)
    return replace(animation, context=replace(context, long_clips="views" if fits else "windows"))


def _effective(blend: Blend) -> Blend:
    """Each model once, and none that counts nothing."""
    weights: dict[MotionModel, float] = {}
    for model, weight in blend:
        weights[model] = weights.get(model, 0.0) + weight
    return [(model, weight) for model, weight in weights.items() if weight]


class Session:
    """Motion modules around one sampling. Use it in a ``with``; on leaving, every UNet and model is as it was."""

    def __init__(
        self,
        animation: Animation,
        motion: MotionModel | Blend,
        *,
        loras: Sequence[tuple[LoraFile, LoraWeight]] = (),
        streams_at_once: int | None = None,
        before_call: Callable[[Call], None] | None = None,
        guests: Collection[nn.Module] = (),
    ):
        """``guests`` are models of others that work within the calls of the UNet."""
        self.animation = animation
        self._blend = _effective([(motion, 1.0)] if isinstance(motion, MotionModel) else motion)
        check_motion(animation, self._blend)
        self.step = 0
        self.progress = 0.0
        """Share of the steps that are done."""
        self._director = Director(animation)
        self._streams_at_once = streams_at_once
        self._before_call = before_call
        self._guests = guests
        self._unet: nn.Module | None = None
        self._injection: Injection | None = None
        self._attached = ExitStack()
        self._placements = [Placement(model) for model, _ in self._blend]
        self._schedules: dict[int, ScheduleOverride] = {}
        self._loras = loras
        self._in_views = animation.context.long_clips == "views"
        self._in_views_at: dict[tuple[int, int, int], bool] = {}

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_exception) -> None:
        with ExitStack() as undo:  # all of it, from the last to the first, whatever fails on the way
            for placement in self._placements:
                undo.callback(placement.back)  # between samplings, graphics memory belongs to the host
            for override in self._schedules.values():
                undo.callback(override.restore)
            undo.callback(self.detach)
        self._schedules.clear()

    def attach(self, unet: nn.Module, *, device: torch.device, dtype: torch.dtype) -> None:
        """Put the motion modules into this UNet, if they are not in it already; out of the one where they were.

        Raises `MisfitError` if they do not fit.
        """
        is_new = unet is not self._unet
        if is_new:
            self.detach()
        for placement in self._placements:
            if is_new or not placement.is_away:  # or it rests
                placement.to(device, dtype)
        if not is_new:
            return
        self._injection = self._attached.enter_context(
            injected(
                unet,
                self._blend,
                num_frames=self.animation.num_frames,
                windows=self._windows,
                direction=self._direction,
                streams_at_once=self._streams_at_once,
                before_call=self._before_call,
            )
        )
        how = {"injection": self._injection, "progress": lambda: self.progress, "device": device, "dtype": dtype}
        self._attached.enter_context(loras_attached(unet, self._blend, self._loras, **how))
        self._unet, self._device, self._dtype = unet, device, dtype

    def rest(self) -> None:
        """Give the memory of the weights back until the next `attach`; the hooks stay where they are."""
        for placement in self._placements:
            placement.back()

    def at_step(self, step: int, num_steps: int, *, num_rows: int, height: int, width: int) -> None:
        """Say which step comes next, the first one being 0, and how large its call is; sizes are of the latent."""
        self.step, self.progress = step, min(step / num_steps, 1.0)
        if self._streams_at_once:
            num_rows = min(num_rows, self._streams_at_once * self.animation.num_frames)
        size = (num_rows, height, width)
        if size not in self._in_views_at:  # asked once, so that all steps of a clip go the same way
            call = {"num_rows": num_rows, "height": height, "width": width}
            where = {"device": self._device, "dtype": self._dtype, "guests": self._guests}
            in_force = long_clips_settled(self.animation, self._unet, self._blend, **call, **where)
            self._in_views_at[size] = in_force.context.long_clips == "views"
        self._in_views = self._in_views_at[size]

    @property
    def long_clips(self) -> str:
        """How clips beyond one context have been made, if all were made the same way."""
        ways = {"views" if in_views else "windows" for in_views in self._in_views_at.values()}
        return ways.pop() if self._is_long and len(ways) == 1 else self.animation.context.long_clips

    @property
    def window(self) -> tuple[int, int]:
        """Which window runs, beginning at 1, and of how many."""
        return self._injection.window if self._injection else (1, 1)

    @property
    def num_windows(self) -> int:
        """In how many parts the UNet runs at the step that comes next."""
        return len(self._windows())

    @property
    def _is_long(self) -> bool:
        return self.animation.num_frames > self.animation.context.length

    def _windows(self) -> list[Window]:
        if self._in_views:
            num_frames = self.animation.num_frames
            return [Window(tuple(range(num_frames)), (1.0,) * num_frames)]
        if self.animation.old_numerics:
            return _windows_of_old(self.animation, self.step)
        return windows_of(self.animation.context, self.animation.num_frames, self.step)

    def _direction(self) -> Direction:
        views = ()
        if self._in_views and self._is_long:
            views = windows_of(self.animation.context, self.animation.num_frames, self.step)
        return self._director.direction(self.progress, views)

    def detach(self) -> None:
        self._unet = self._injection = None
        self._attached.close()

    def use_schedule(self, model, derive: Callable[[], None] = lambda: None) -> bool:
        """Give a model the motion module's noise schedule. True if it was not in place: samplers must be made anew.

        ``derive`` is called after a change, for what the host makes of the schedule.
        """
        override = self._schedules.setdefault(
            id(model), ScheduleOverride(model, self._blend[0][0].config.family.schedule)
        )
        return override.apply(derive)

    def use_rows(self, layout: RowLayout) -> None:
        """The order of rows in the calls that follow."""
        self._injection.rows = layout
