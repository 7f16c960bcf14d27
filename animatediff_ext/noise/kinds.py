"""What the noise of a clip's frames has in common.

A host draws for each frame its own noise, as for stills. A kind says whose noise each frame takes instead; so what
samplers draw later can follow the same rule, and a frame of its own seed stays what it is by itself.

Axes: f frames, c channels, h height, w width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from animatediff_ext.params import Animation

Sources = Callable[..., list[int]]
"""``sources(num_frames, *, length, overlap, seed) -> the frame whose noise each frame takes``"""


def independent(num_frames: int, *, length: int, overlap: int, seed: int) -> list[int]:
    """Every frame its own."""
    return list(range(num_frames))


def shared(num_frames: int, *, length: int, overlap: int, seed: int) -> list[int]:
    """All frames that of the first."""
    return [0] * num_frames


def repeated(num_frames: int, *, length: int, overlap: int, seed: int) -> list[int]:
    """That of the first window, again and again."""
    return [frame % length for frame in range(num_frames)]


def free_noise(num_frames: int, *, length: int, overlap: int, seed: int) -> list[int]:
    """That of the first window, again and again, shuffled in runs as long as a window moves on (Qiu et al., arXiv
    2310.15169): any window sees the noise of the first one, each frame once, in another order.

    The authors' code shuffles runs of 4 with windows of 16, and leaves a last run that is shorter as it was drawn; here
    it is a part of a whole one.
    """
    hop = max(1, length - overlap)
    random = torch.Generator().manual_seed(seed)
    sources = list(range(min(length, num_frames)))
    for start in range(length, num_frames, hop):
        earlier = sources[start - length : start - length + hop]
        order = torch.randperm(len(earlier), generator=random).tolist()
        sources += [earlier[place] for place in order][: num_frames - start]
    return sources


KINDS: dict[str, Sources] = {
    "independent": independent,
    "shared": shared,
    "mixed": independent,
    "repeated": repeated,
    "FreeNoise": free_noise,
}
"""``mixed`` adds a part that all frames have in common, see `mixed`."""


def sources_of(animation: Animation, seed: int) -> list[int]:
    """The frame whose noise each frame of a resolved animation takes."""
    context = animation.context
    how = {"length": context.length, "overlap": context.overlap_frames, "seed": seed}
    return KINDS[animation.noise.kind](animation.num_frames, **how)


def mixed(own: torch.Tensor, common: torch.Tensor, share: float) -> torch.Tensor:
    """√a · common + √(1 - a) · own, ``(f c h w)``: unit variance, and a correlation of ``share`` between any two frames
    (Ge et al., "Preserve Your Own Correlation", arXiv 2305.10474; with their α, a = α² / (1 + α²)).

    ``own`` is ``(f c h w)``, ``common`` is ``(1 c h w)``, drawn apart from it.
    """
    return share**0.5 * common + (1 - share) ** 0.5 * own
