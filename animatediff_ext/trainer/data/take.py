"""What is taken from a clip for one sample of a batch."""

from __future__ import annotations

from dataclasses import dataclass

from animatediff_ext.trainer.config import Sample, parse_size
from animatediff_ext.trainer.data.clip import Clip


@dataclass(frozen=True)
class Bucket:
    """Samples of one size, which can be in one batch."""

    width: int
    height: int
    num_frames: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}x{self.num_frames}"


@dataclass(frozen=True, kw_only=True)
class Take:
    """Some frames of a clip, cut to a size."""

    clip: Clip
    bucket: Bucket
    frames: tuple[int, ...]
    """Numbers in display order, as many as the bucket has frames; a number may repeat."""
    flip: bool
    """Mirrored, left and right exchanged."""
    index: int
    """Global number of the sample, which its random numbers are keyed by: step × global batch + place in the batch."""


def buckets_of(sample: Sample, *, stills: bool = False) -> tuple[Bucket, ...]:
    """The buckets of a configuration; ``stills``: of one frame each. Raises `SettingsError`."""
    sizes = [parse_size(text) for text in sample.buckets]
    found = [Bucket(width, height, 1 if stills else num_frames) for width, height, num_frames in sizes]
    return tuple(dict.fromkeys(found))


def share(takes: list[Take], rank: int, world: int, batch: int, micro: int) -> list[Take]:
    """What process ``rank`` of ``world`` takes of a step's ``takes`` in its ``micro``-th batch of ``batch``."""
    first = (micro * world + rank) * batch
    return takes[first : first + batch]
