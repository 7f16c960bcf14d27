"""`injected`: motion modules in a UNet, for as long as a ``with`` lasts.

Axes: s streams, f frames, c channels, h height, w width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from animatediff_ext.inject.norms import clip_norms_of
from animatediff_ext.inject.rows import RowLayout, stream_major, take
from animatediff_ext.inject.sites import MisfitError, misfit, sites_of
from animatediff_ext.motion import MotionModel, MotionModule
from animatediff_ext.motion.layers import clip_of_frames, frames_of_clip

Windows = Sequence[tuple[Sequence[int], Sequence[float]]]
"""Frames that go through the UNet together, and the weight of each one's prediction. Per frame the weights sum to
one."""


@contextmanager
def injected(
    unet: nn.Module,
    motion: MotionModel,
    *,
    num_frames: int,
    rows: RowLayout | None = None,
    windows: Callable[[], Windows] | None = None,
    streams_at_once: int | None = None,
    before_call: Callable[[], None] | None = None,
) -> Iterator[Injection]:
    """Attach motion modules to a UNet; leave no trace of them afterwards, whatever happens inside.

    ``unet`` is LDM's or diffusers'. Each call to it must bring whole clips of ``num_frames`` frames, in the order that
    ``rows`` tells (stream-major by default). Where ``windows`` is given it is asked at each call, and the call runs
    window by window. ``streams_at_once`` bounds how many streams share a run, to save memory. ``before_call`` is
    called before each run of the UNet's own forward, and may raise to stop.

    The motion model must be on the UNet's device. Raises `MisfitError` if it was made for another kind of UNet, and
    `RowLayoutError` from a call that does not bring whole clips.
    """
    problem = misfit(unet, motion.config)
    if problem:
        raise MisfitError(problem)
    injection = Injection(unet.forward, num_frames, rows, windows, streams_at_once, before_call)
    with ExitStack() as undo:
        for site in sites_of(unet):
            if site.name in motion.config.sites():
                hook = injection.motion_hook(motion.at(site.name))
                undo.callback(site.layer.register_forward_hook(hook).remove)
        if motion.config.family.resblock_norm == "clip":
            for norm in clip_norms_of(unet):
                undo.callback(norm.register_forward_pre_hook(injection.to_clip).remove)
                undo.callback(norm.register_forward_hook(injection.to_frames).remove)
        undo.callback(_restore_forward, unet, unet.__dict__.get("forward"))
        unet.forward = injection.forward
        yield injection


def _restore_forward(unet: nn.Module, before: Callable | None) -> None:
    if before is None:
        del unet.forward  # the class's own method shows again
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
        streams_at_once: int | None = None,
        before_call: Callable[[], None] | None = None,
    ):
        self._forward = forward
        self.num_frames = num_frames
        self.rows = rows or stream_major(num_frames)
        self._windows = windows
        self._streams_at_once = streams_at_once
        self._before_call = before_call
        self._frames_in_call = num_frames

    def forward(self, x: torch.Tensor, *args, **kwargs):
        """The UNet's forward at its border: rows sorted, windows cut and blended, answers in the caller's order."""
        num_rows = x.shape[0]
        table = self.rows(num_rows)  # s f
        windows = list(self._windows()) if self._windows else [(range(self.num_frames), [1.0] * self.num_frames)]
        groups = table.split(self._streams_at_once or len(table))
        if len(windows) == len(groups) == 1 and table.flatten().equal(torch.arange(num_rows)):
            return self._run(self.num_frames, x, args, kwargs)

        total = answer = None
        for frames, weights in windows:
            for streams in groups:
                part = streams[:, list(frames)].flatten()  # rows of this run, stream-major
                answer = self._run(len(frames), *(take(v, part, num_rows) for v in (x, args, kwargs)))
                y = _sample(answer).float()
                weight = torch.tensor(weights, device=y.device).repeat(len(streams)).view(-1, *[1] * (y.ndim - 1))
                total = y.new_zeros(num_rows, *y.shape[1:]) if total is None else total
                total.index_add_(0, part.to(y.device), y * weight)
        return _with_sample(answer, total.to(_sample(answer).dtype))

    def _run(self, num_frames: int, x: torch.Tensor, args: tuple, kwargs: dict):
        if self._before_call:
            self._before_call()
        self._frames_in_call = num_frames
        return self._forward(x, *args, **kwargs)

    def motion_hook(self, module: MotionModule) -> Callable:
        """A forward hook that lets what leaves a layer pass through a motion module."""
        dtype = module.temporal_transformer.proj_in.weight.dtype

        def hook(_layer, _args, output):
            x = _sample(output)  # (s f) c h w
            return _with_sample(output, module(x.to(dtype), self._frames_in_call).to(x.dtype))

        return hook

    def to_clip(self, _norm, args: tuple[torch.Tensor]) -> torch.Tensor:
        """Forward pre-hook of a norm: show it a clip as one picture."""
        return clip_of_frames(args[0], self._frames_in_call)

    def to_frames(self, _norm, _args, output: torch.Tensor) -> torch.Tensor:
        """Forward hook of a norm: take the clip apart again."""
        return frames_of_clip(output, self._frames_in_call)


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
