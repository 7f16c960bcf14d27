"""The clips of a run, the same in every process: looked at once, planned, held out, read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from animatediff_ext.trainer.config import Config, Sample
from animatediff_ext.trainer.data.cache import TensorCache
from animatediff_ext.trainer.data.catalogue import Catalogue, look_at
from animatediff_ext.trainer.data.dataset import ClipDataset, Example, batches
from animatediff_ext.trainer.data.plan import Plan
from animatediff_ext.trainer.data.sources import find_clips
from animatediff_ext.trainer.data.take import Take, buckets_of
from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.processes import Processes


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a run is trained and validated on."""

    plan: Plan
    catalogue: Catalogue
    held_out: list[Take]
    cache: TensorCache
    digest: str
    """Of the clips that are trained on."""

    def report(self) -> str:
        """What is used and what is not, in a sentence or two."""
        num_held_out = self.catalogue.num_clips - self.plan.catalogue.num_clips  # a video may be several of them
        held_out = f" {num_held_out} of them held out for validation." if num_held_out else ""
        return self.catalogue.report() + held_out

    def steps(
        self, config: Config, group: Processes, vae_fingerprint: str, first: int
    ) -> Iterator[list[list[Example]]]:
        """For each step from ``first``: this process's examples, one list for each part that is accumulated."""
        sample = config.sample
        dataset = ClipDataset(
            self.plan,
            self.cache,
            rank=group.rank,
            world=group.world,
            batch=sample.batch,
            accumulate=sample.accumulate,
            vae_fingerprint=vae_fingerprint,
        )
        parts = sample.accumulate
        stream = batches(dataset, first * parts, config.run.steps * parts, sample.workers)
        while step := list(islice(stream, parts)):
            yield step


def gather(config: Config, world: int, *, stills: bool) -> Material:
    """Find the clips and look at them; ``stills``: single frames of them are taken.

    Raises `TrainError` where there is nothing to train on.
    """
    if not config.data:
        raise TrainError("There is no [[data]] in the configuration: add one with the path of your clips.")
    sample = config.sample
    clips = [clip for source in config.data for clip in find_clips(source)]
    with tqdm(desc="looking at clips", total=len(clips), unit="clip", leave=False, delay=2) as bar:
        catalogue = look_at(
            clips,
            buckets_of(sample, stills=stills),
            sample,
            index=Path(config.run.output) / "clips.json",
            progress=lambda _done, _all: bar.update(),
        )
    # Without validation nobody would look at them.
    num_held_out = config.validate.clips if config.validate.every else 0
    training, held_out = catalogue.hold_out(num_held_out, config.run.seed)
    return Material(
        plan=Plan(training, sample, seed=config.run.seed, global_batch=global_batch(sample, world)),
        catalogue=catalogue,
        held_out=held_out,
        cache=TensorCache(config.cache.folder, config.cache.dtype),
        digest=training.digest(),
    )


def global_batch(sample: Sample, world: int) -> int:
    """Clips in one step of all processes."""
    return sample.batch * sample.accumulate * world
