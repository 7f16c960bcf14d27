"""`injected`: motion modules in a UNet, for as long as a ``with`` lasts.

Axes: s streams, f frames, c channels, h height, w width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from animatediff_ext.inject.direction import Direction
from animatediff_ext.inject.norms import clip_norms_of
from animatediff_ext.inject.precision import own_precision
from animatediff_ext.inject.rows import RowLayout, stream_major, take
from animatediff_ext.inject.sites import MisfitError, misfit, sites_of
from animatediff_ext.motion import MotionModel, MotionModule
from animatediff_ext.motion.constants import constant
from animatediff_ext.motion.families import Span
from animatediff_ext.motion.layers import clip_of_frames, frames_of_clip
from animatediff_ext.motion.manner import Manner

Windows = Sequence[tuple[Sequence[int], Sequence[float]]]
"""Frames that go through the UNet together, and the weight of each one's prediction. Per frame the weights sum to
one."""
Blend = Sequence[tuple[MotionModel, float]]
"""Motion models, and what each of them counts for."""


@contextmanager
def injected(
    unet: nn.Module,
    motion: MotionModel | Blend,
    *,
    num_frames: int,
    rows: RowLayout | None = None,
    windows: Callable[[], Windows] | None = None,
    direction: Callable[[], Direction] = Direction,
    streams_at_once: int | None = None,
    before_call: Callable[[Call], None] | None = None,
) -> Iterator[Injection]:
    """Attach motion modules to a UNet; leave no trace of them afterwards, whatever happens inside.

    ``unet`` is LDM's or diffusers'. Each call to it must bring whole clips of ``num_frames`` frames, in the order that
    ``rows`` tells (stream-major by default). Where ``windows`` is given it is asked at each call, and the call runs
    window by window; ``direction`` too is asked at each call. ``streams_at_once`` bounds how many streams share a run,
    to save memory. ``before_call`` is called before each run of the UNet's own forward, with what goes into it, and may
    raise to stop.

    Motion models must be on the UNet's device. Of several, what each of them would change is added up by weight.
    Raises `MisfitError` if one was made for another kind of UNet, or if two need other norms of it, and
    `RowLayoutError` from a call that does not bring whole clips.
    """
    blend = [(motion, 1.0)] if isinstance(motion, MotionModel) else list(motion)
    norm_span = _checked(unet, [model for model, _ in blend])
    injection = Injection(unet.forward, num_frames, rows, windows, direction, streams_at_once, before_call)
    with ExitStack() as undo:
        for site in sites_of(unet):
            modules = [(model.at(site.name), weight) for model, weight in blend if site.name in model.config.sites()]
            if modules:
                hook = injection.motion_hook(site.name, modules)
                undo.callback(site.layer.register_forward_hook(hook).remove)
        if norm_span == "clip":
            for norm in clip_norms_of(unet):
                undo.callback(norm.register_forward_pre_hook(injection.to_clip).remove)
                undo.callback(norm.register_forward_hook(injection.to_frames).remove)
        undo.callback(_restore_forward, unet, unet.__dict__.get("forward"))
        unet.forward = injection.forward
        yield injection


def _checked(unet: nn.Module, models: Sequence[MotionModel]) -> Span:
    """What the norms of the UNet's ResBlocks span. Raises `MisfitError`."""
    for model in models:
        problem = misfit(unet, model.config)
        if problem:
            raise MisfitError(problem)
    spans = {model.config.family.resblock_norm: model.config.family.title for model in models}
    if len(spans) > 1:
        raise MisfitError(
            f"{' and '.join(spans.values())} cannot be blended, since they need other norms in the UNet: choose two "
            "motion modules of one family."
        )
    return next(iter(spans))


def _restore_forward(unet: nn.Module, before: Callable | None) -> None:
    if before is None:
        vars(unet).pop("forward", None)  # the class's own method shows again, if nobody else took ours away
    else:
        unet.forward = before


class Injection:
    """The state of one ``with injected(…)``. The UNet's forward passes through it, and its hooks ask it for the
    frames."""

    def __init__(
        self,
        forward: Callable,
        num_frames: int,
        rows: RowLayout | None = None,
        windows: Callable[[], Windows] | None = None,
        direction: Callable[[], Direction] = Direction,
        streams_at_once: int | None = None,
        before_call: Callable[[Call], None] | None = None,
    ):
        self._forward = forward
        self.num_frames = num_frames
        self.rows = rows or stream_major(num_frames)
        self._windows = windows
        self._direction = direction
        self._streams_at_once = streams_at_once
        self._before_call = before_call
        self.window = (1, 1)
        """Of a call of the UNet: the number of the window that runs, beginning at 1, and of how many."""
        self._sites: list[str] = []
        self._call = Call(range(num_frames), Direction(), self._sites)

    def forward(self, x: torch.Tensor, *args, **kwargs):
        """The UNet's forward at its border: rows sorted, windows cut and blended, answers in the caller's order."""
        num_rows = x.shape[0]
        table = self.rows(num_rows)  # s f
        windows = list(self._windows()) if self._windows else [(range(self.num_frames), [1.0] * self.num_frames)]
        direction = self._direction()
        groups = torch.arange(len(table)).split(self._streams_at_once or len(table))
        self.window = (1, len(windows))
        is_whole = len(windows) == 1 and list(windows[0][0]) == list(range(self.num_frames))
        if is_whole and len(groups) == 1 and table.flatten().equal(torch.arange(num_rows)):
            return self._run(direction, windows[0][0], range(len(table)), x, args, kwargs)

        total = answer = None
        for number, (frames, weights) in enumerate(windows, start=1):
            self.window = (number, len(windows))
            for streams in groups:
                part = tuple(table[streams][:, list(frames)].flatten().tolist())  # rows of this run, stream-major
                parts = (take(v, part, num_rows) for v in (x, args, kwargs))
                answer = self._run(direction, frames, streams.tolist(), *parts)
                y = _sample(answer).float()
                weight = constant(tuple(weights), y.device, y.dtype).repeat(len(streams))
                weight = weight.view(-1, *[1] * (y.ndim - 1))
                total = y.new_zeros(num_rows, *y.shape[1:]) if total is None else total
                total.index_add_(0, constant(part, y.device, torch.int64), y * weight)
        return _with_sample(answer, total.to(_sample(answer).dtype))

    def _run(
        self,
        direction: Direction,
        frames: Sequence[int],
        streams: Sequence[int],
        x: torch.Tensor,
        args: tuple,
        kwargs: dict,
    ):
        self._call = Call(frames, direction, self._sites, num_rows=len(x), streams=streams)
        if self._before_call:
            self._before_call(self._call)
        return self._forward(x, *args, **kwargs)

    def frames_now(self) -> list[int]:
        """The frames of the clip that go through a motion module's layers at this moment."""
        return [self._call.frames[i] for i in self._call.manner.frames]

    @property
    def call(self) -> Call:
        """This run of the UNet, or the last one."""
        return self._call

    def motion_hook(self, site: str, modules: Sequence[tuple[MotionModule, float]]) -> Callable:
        """A forward hook that lets what leaves a layer pass through motion modules."""
        self._sites.append(site)
        dtype = modules[0][0].temporal_transformer.proj_in.weight.dtype

        def hook(_layer, _args, output):
            call = self._call
            effect = call.direction.effect_at(site, call.frames)
            if not any(effect):
                return output
            before = _sample(output)  # (s f) c h w
            x = before.to(dtype)
            with own_precision(x.device.type, dtype):
                if len(modules) == 1 and all(weight * modules[0][1] == 1 for weight in effect):
                    moved = modules[0][0](x, call.manner)
                else:
                    change = sum(weight * (module(x, call.manner) - x) for module, weight in modules)
                    shares = constant(tuple(effect), x.device, x.dtype).repeat(len(x) // len(effect))
                    moved = x + shares.view(-1, 1, 1, 1) * change
            return _with_sample(output, moved.to(before.dtype))

        return hook

    def to_clip(self, _norm, args: tuple[torch.Tensor]) -> torch.Tensor | None:
        """Forward pre-hook of a norm: show it a clip as one picture."""
        return None if self._call.is_still else clip_of_frames(args[0], len(self._call.frames))

    def to_frames(self, _norm, _args, output: torch.Tensor) -> torch.Tensor | None:
        """Forward hook of a norm: take the clip apart again."""
        return None if self._call.is_still else frames_of_clip(output, len(self._call.frames))


class Call:
    """One run of the UNet: some frames of the clip, and what is asked of the modules for them."""

    def __init__(
        self,
        frames: Sequence[int],
        direction: Direction,
        sites: Sequence[str],
        num_rows: int = 0,
        streams: Sequence[int] = (),
    ):
        self.frames = frames
        """Of the clip, as the rows of each stream have them."""
        self.streams = streams
        """Of the call, those that are in this run."""
        self.num_rows = num_rows
        self.direction = direction
        self.manner: Manner = direction.manner(frames)
        self.is_still = direction.is_without_effect(sites, frames)
        """The UNet is to be as if no module were in it."""


def _sample(output) -> torch.Tensor:
    """The tensor in what a layer or a UNet returns: itself, the first of a tuple, or ``.sample`` of diffusers'
    outputs."""
    if isinstance(output, torch.Tensor):
        return output
    return output[0] if isinstance(output, tuple) else output.sample


def _with_sample(output, sample: torch.Tensor):
    if isinstance(output, torch.Tensor):
        return sample
    return (sample, *output[1:]) if isinstance(output, tuple) else type(output)(sample=sample)
