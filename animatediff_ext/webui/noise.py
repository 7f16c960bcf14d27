"""Kinds of noise in the WebUI, which draws it from ``p.rng``: a new one for each video, and for a hires pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from modules import rng

from animatediff_ext.noise import mixed, seed_offsets, sources_of
from animatediff_ext.params import Animation
from animatediff_ext.webui.errors import AnimateDiffError

_MARK = "animatediff_noise"


def check_generator(generator, animation: Animation) -> None:
    """Raises `AnimateDiffError` where another extension stands between the WebUI's generator and an animation that has
    to make noise as that one does."""
    wanted = ["FreeInit"] * animation.free_init.enabled
    wanted += [f"Noise {animation.noise.kind}"] * (animation.noise.kind != "independent")
    if wanted and not isinstance(generator, rng.ImageRNG):
        raise AnimateDiffError(
            f"Another extension changes the noise of this generation, as ControlNet's inpaint_only+lama does, which "
            f"{' and '.join(wanted)} cannot follow: choose another preprocessor, or switch FreeInit off and set Noise "
            "(noise_kind) to independent."
        )


def directed(generator: rng.ImageRNG, animation: Animation) -> rng.ImageRNG:
    """The same generator, all whose draws are of the kind that the animation asks for: also those of samplers that add
    noise at each step."""
    if animation.noise.kind == "independent" or hasattr(generator, _MARK):
        return generator
    of_kind, first, draw = _rule(generator, animation), generator.first, generator.next

    def next_one() -> torch.Tensor:
        is_first = generator.is_first  # then `first` is what is drawn, perhaps one that FreeInit has put there
        drawn = draw()
        return drawn if is_first else of_kind(drawn)

    generator.first, generator.next = lambda: of_kind(first()), next_one
    setattr(generator, _MARK, of_kind)
    return generator


def direct_hires_pass(p, noise: torch.Tensor, animation: Animation) -> None:
    """The WebUI has drawn the first noise of its second pass already: change it in place, and what will be drawn."""
    if animation.noise.kind == "independent" or hasattr(p.rng, _MARK):
        return
    noise.copy_(getattr(directed(p.rng, animation), _MARK)(noise))


@contextmanager
def seeds_directed(p, animation: Animation) -> Iterator[None]:
    """For samplers that make noise from ``p.all_seeds`` and not from ``p.rng``: DPM++ SDE and its like."""
    first, before = p.iteration * animation.num_frames, list(p.all_seeds)
    sources = sources_of(animation, int(p.seeds[0]))
    p.all_seeds[first : first + animation.num_frames] = [before[first + source] for source in sources]
    try:
        yield
    finally:
        p.all_seeds[:] = before


def _rule(generator: rng.ImageRNG, animation: Animation) -> Callable[[torch.Tensor], torch.Tensor]:
    wanted, seed = animation.noise, int(generator.seeds[0])
    sources = sources_of(animation, seed)
    common = rng.ImageRNG(generator.shape, [seed + seed_offsets.COMMON])

    def of_kind(own: torch.Tensor) -> torch.Tensor:  # f c h w
        if wanted.kind == "mixed":
            return mixed(own, common.next().to(own), wanted.share)
        return own[sources]

    return of_kind
