"""Data sets for tests: clips whose pixels say the number of their frame, and clips that are only made up."""

from __future__ import annotations

from pathlib import Path

from animatediff_ext.media import Timeline
from animatediff_ext.trainer.config import Data, Sample
from animatediff_ext.trainer.data import Bucket, Catalogue, Clip, Plan, Seen, find_clips, look_at
from tests.media.numbered import write_numbered

BUCKET = Bucket(64, 64, 4)
SAMPLE = Sample(buckets=("64x64x4",), stride=2)


def write_folder(folder: Path, num_clips: int, *, num_frames: int = 12, **facts) -> Path:
    """``0.mp4``, ``1.mp4``, … with captions "clip 0", … ``facts`` as `write_numbered` takes them."""
    for index in range(num_clips):
        write_numbered(folder / f"{index}.mp4", num_frames, codec_options={"g": "6", "bf": "2"}, **facts)
        (folder / f"{index}.txt").write_text(f"clip {index}\n")
    return folder


def catalogue_of(folder: Path, sample: Sample = SAMPLE, buckets: tuple[Bucket, ...] = (BUCKET,)) -> Catalogue:
    return look_at(find_clips(Data(path=str(folder))), buckets, sample)


def plan_of(folder: Path, *, global_batch: int = 2, seed: int = 0) -> Plan:
    return Plan(catalogue_of(folder), SAMPLE, seed=seed, global_batch=global_batch)


def made_up(
    name: str,
    num_frames: int = 40,
    *,
    width: int = 64,
    height: int = 64,
    fps: int = 24,
    caption: str = "",
    repeats: int = 1,
) -> Clip:
    """A clip with no file, as if it had been looked at."""
    seen = Seen(
        width=width, height=height, timeline=Timeline.of(range(num_frames), fps), file_size=1000, modified_ns=2000
    )
    return Clip(name=name, path=f"/clips/{name}", caption=caption, repeats=repeats, seen=seen)


def made_up_plan(
    sizes: dict[Bucket, int], *, repeats: int = 1, sample: Sample = SAMPLE, seed: int = 0, global_batch: int = 4
) -> Plan:
    """A plan over so many clips of each bucket."""
    buckets = {
        bucket: tuple(made_up(f"{bucket} {index}.mp4", repeats=repeats) for index in range(number))
        for bucket, number in sizes.items()
    }
    catalogue = Catalogue(buckets=buckets, sample=sample, short={}, bad=())
    return Plan(catalogue, sample, seed=seed, global_batch=global_batch)
