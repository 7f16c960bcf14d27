"""The clips that a run trains on, each in the bucket that it fits into."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from animatediff_ext.media import MediaError
from animatediff_ext.media.pyav import load_pyav
from animatediff_ext.trainer.config import Sample
from animatediff_ext.trainer.data.clip import Clip
from animatediff_ext.trainer.data.look import Bad, look_into, sentence
from animatediff_ext.trainer.data.spacing import frames_from, needed, num_starts
from animatediff_ext.trainer.data.take import Bucket, Take
from animatediff_ext.trainer.error import TrainError

_NAMED_AT_MOST = 10


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """What there is to train on."""

    buckets: Mapping[Bucket, tuple[Clip, ...]]
    """Only buckets that have a clip, in the order of the configuration; clips in the order of their sources."""
    sample: Sample
    short: Mapping[Bucket, int]
    """How many clips have the shape of a bucket but are too short for it, by the shortest such bucket."""
    bad: tuple[Bad, ...]

    @property
    def num_clips(self) -> int:
        return sum(map(len, self.buckets.values()))

    def digest(self) -> str:
        """Another one for other clips, captions or repeats, or another order of them; the same in another place."""
        made = hashlib.blake2b(digest_size=16)
        for bucket, clips in self.buckets.items():
            for clip in clips:
                made.update(repr((str(bucket), clip.name, clip.place, clip.caption, clip.repeats)).encode())
        return made.hexdigest()

    def report(self) -> str:
        """What is used and what is not, in a sentence."""
        sizes = ", ".join(f"{bucket}: {len(clips)}" for bucket, clips in self.buckets.items())
        parts = [f"{_count(self.num_clips, 'clip')} in {_count(len(self.buckets), 'bucket')} ({sizes})"]
        for bucket, number in self.short.items():
            length = needed(bucket.num_frames, self.sample)
            parts.append(f"{number} {'is' if number == 1 else 'are'} shorter than {length} and left out")
        if self.bad:
            parts.append(f"{len(self.bad)} cannot be read: {sentence(self.bad, at_most=_NAMED_AT_MOST)}")
        return "; ".join(parts) + "."

    def hold_out(self, num_videos: int, seed: int) -> tuple[Catalogue, list[Take]]:
        """A catalogue without ``num_videos`` of the videos, and one take of each of these: its middle, not mirrored.

        A video with several captions is several clips: none of them is left to train on, and the first one is taken.
        Which ones depends on their names: as clips are added, those held out stay so, unless a new one takes a place.
        Raises `TrainError` if no clip would be left.
        """
        firsts: dict[tuple, tuple[Bucket, Clip]] = {}
        for bucket, clips in self.buckets.items():
            for clip in clips:
                firsts.setdefault(clip.identity(), (bucket, clip))
        if num_videos and num_videos >= len(firsts):
            raise TrainError(
                f"validate.clips is {num_videos}, but there are only {_count(len(firsts), 'different clip')}: "
                "give a smaller number, so that some are left to train on, or 0."
            )
        drawn = sorted(firsts.values(), key=lambda entry: _lot(seed, entry[1].name))[:num_videos]
        held = {clip.identity() for _, clip in drawn}
        left = {b: tuple(clip for clip in clips if clip.identity() not in held) for b, clips in self.buckets.items()}
        rest = replace(self, buckets={bucket: clips for bucket, clips in left.items() if clips})
        return rest, [self._middle(clip, bucket, index) for index, (bucket, clip) in enumerate(drawn)]

    def _middle(self, clip: Clip, bucket: Bucket, index: int) -> Take:
        start = (num_starts(clip.seen.timeline, bucket.num_frames, self.sample) - 1) // 2
        frames = frames_from(clip.seen.timeline, start, bucket.num_frames, self.sample)
        return Take(clip=clip, bucket=bucket, frames=frames, flip=False, index=index)


def look_at(
    clips: Sequence[Clip],
    buckets: Sequence[Bucket],
    sample: Sample,
    *,
    index: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Catalogue:
    """Look into every clip and sort them into buckets.

    ``index`` is a file that keeps what was seen, so that a second start reads no video; ``progress`` is told how many
    clips of how many are done. Raises `TrainError` if more than ``sample.max_bad`` clips cannot be read, or if none is
    left.
    """
    try:
        load_pyav("Training on videos")
    except MediaError as error:
        raise TrainError(str(error)) from error
    good, bad = look_into(clips, index, progress)
    if len(bad) > sample.max_bad:
        raise TrainError(
            f"{len(bad)} of {_count(len(clips), 'clip')} cannot be read, and sample.max_bad is {sample.max_bad}: "
            f"{sentence(bad, at_most=_NAMED_AT_MOST)}. Replace or remove them, or allow more."
        )
    catalogue = _sorted_in(good, buckets, sample, bad)
    if not catalogue.buckets:
        raise TrainError(
            f"There is nothing to train on: {catalogue.report()} Give other clips, "
            "or lower sample.stride or the frames in sample.buckets."
        )
    return catalogue


def _sorted_in(clips: Sequence[Clip], buckets: Sequence[Bucket], sample: Sample, bad: Sequence[Bad]) -> Catalogue:
    placed = {bucket: [] for bucket in buckets}
    short = dict.fromkeys(buckets, 0)
    for clip in clips:
        shaped = _of_its_shape(clip, buckets)
        long_enough = [bucket for bucket in shaped if num_starts(clip.seen.timeline, bucket.num_frames, sample)]
        if long_enough:
            placed[_best(clip, long_enough)].append(clip)
        else:
            short[min(shaped, key=lambda bucket: bucket.num_frames)] += 1
    return Catalogue(
        buckets={bucket: tuple(found) for bucket, found in placed.items() if found},
        sample=sample,
        short={bucket: number for bucket, number in short.items() if number},
        bad=tuple(bad),
    )


def _of_its_shape(clip: Clip, buckets: Sequence[Bucket]) -> list[Bucket]:
    """The buckets whose aspect ratio is the nearest to the clip's, by its logarithm: 1:2 is as far from 1:1 as 2:1."""

    def distance(bucket: Bucket) -> float:
        # Rounded, so that 256x256 and 512x512 are equally near.
        return round(abs(math.log(bucket.width * clip.seen.height / (bucket.height * clip.seen.width))), 9)

    nearest = min(map(distance, buckets))
    return [bucket for bucket in buckets if distance(bucket) == nearest]


def _best(clip: Clip, buckets: Sequence[Bucket]) -> Bucket:
    """The one of the most frames; of several, the largest that the clip fills without being enlarged."""

    def rank(bucket: Bucket) -> tuple[int, bool, int]:
        area = bucket.width * bucket.height
        fills = bucket.width <= clip.seen.width and bucket.height <= clip.seen.height
        return bucket.num_frames, fills, area if fills else -area

    return max(buckets, key=rank)


def _lot(seed: int, name: str) -> bytes:
    return hashlib.blake2b(repr((seed, "hold out", name)).encode(), digest_size=16).digest()


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
