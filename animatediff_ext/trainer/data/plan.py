"""Which clips each step takes, and what of them: a function of the seed and the step alone.

So a run goes on after a stop without a history, and does not depend on the number of its processes.
"""

from __future__ import annotations

import numpy as np
import torch

from animatediff_ext.trainer.config import Sample
from animatediff_ext.trainer.data.catalogue import Catalogue
from animatediff_ext.trainer.data.clip import Clip
from animatediff_ext.trainer.data.direction import names_direction
from animatediff_ext.trainer.data.spacing import frames_from, num_starts
from animatediff_ext.trainer.data.take import Bucket, Take
from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.keyed import chance, generator

Batches = list[tuple[Bucket, np.ndarray]]
"""The batches of one pass: a bucket, and the numbers of clips in it."""


class Plan:
    """Passes over a catalogue. In each, every clip comes up as often as its ``repeats`` says.

    A batch is of one bucket. The last batch of a bucket is filled up with more clips of that bucket; these, and nothing
    else, come up more often.
    """

    def __init__(self, catalogue: Catalogue, sample: Sample, *, seed: int, global_batch: int):
        """``global_batch``: clips of one step, over all processes and accumulated batches."""
        assert catalogue.buckets
        assert global_batch > 0
        self.catalogue, self.sample, self.seed, self.global_batch = catalogue, sample, seed, global_batch
        self._numbers = {
            bucket: np.repeat(np.arange(len(clips)), [clip.repeats for clip in clips])
            for bucket, clips in catalogue.buckets.items()
        }
        self.steps_per_pass = sum(-(-len(numbers) // global_batch) for numbers in self._numbers.values())
        self._latest_pass: tuple[int, Batches] | None = None  # saves shuffling at every step, changes nothing

    def takes(self, step: int) -> list[Take]:
        """The ``global_batch`` takes of step 0, 1, …, all of one bucket."""
        number_of_pass, place = divmod(step, self.steps_per_pass)
        bucket, numbers = self._batches(number_of_pass)[place]
        first = step * self.global_batch
        return [self._take(bucket, number, first + place) for place, number in enumerate(numbers.tolist())]

    def replacement(self, take: Take, attempt: int) -> Take:
        """A take of another clip of the same bucket, for one that cannot be read; ``attempt`` counts from 0.

        No clip comes twice. Raises `TrainError` when there is no other clip left.
        """
        clips = self.catalogue.buckets[take.bucket]
        others = [number for number, clip in enumerate(clips) if clip != take.clip]
        if attempt >= len(others):
            raise TrainError(
                f"None of the {len(clips)} clips of bucket {take.bucket} can be read any more, "
                f"{take.clip.name} among them: check that the data is still there."
            )
        order = torch.randperm(len(others), generator=generator(self.seed, take.index, "replacement"))
        return self._take(take.bucket, others[int(order[attempt])], take.index)

    def _batches(self, number_of_pass: int) -> Batches:
        if self._latest_pass is None or self._latest_pass[0] != number_of_pass:
            self._latest_pass = number_of_pass, self._shuffled(number_of_pass)
        return self._latest_pass[1]

    def _shuffled(self, number_of_pass: int) -> Batches:
        batches = []
        for bucket, numbers in self._numbers.items():
            key = (self.seed, number_of_pass, str(bucket))
            order = numbers[_permutation(len(numbers), *key, "order")]
            full, rest = np.split(order, [len(order) // self.global_batch * self.global_batch])
            batches += [(bucket, batch) for batch in full.reshape(-1, self.global_batch)]
            if len(rest):
                batches.append((bucket, self._filled_up(rest, numbers, *key)))
        return [batches[index] for index in _permutation(len(batches), self.seed, number_of_pass, "batches")]

    def _filled_up(self, rest: np.ndarray, numbers: np.ndarray, *key: int | str) -> np.ndarray:
        """Up to a whole batch, first with clips that are not yet in it."""
        order = numbers[_permutation(len(numbers), *key, "fill")]
        others_first = order[np.argsort(np.isin(order, rest), kind="stable")]
        return np.concatenate([rest, np.resize(others_first, self.global_batch - len(rest))])

    def _take(self, bucket: Bucket, number: int, index: int) -> Take:
        clip = self.catalogue.buckets[bucket][number]
        return Take(
            clip=clip,
            bucket=bucket,
            frames=frames_from(clip.seen.timeline, self._start(clip, bucket, index), bucket.num_frames, self.sample),
            flip=self._flipped(clip, index),
            index=index,
        )

    def _start(self, clip: Clip, bucket: Bucket, index: int) -> int:
        """Any of the possible first frames, or one of ``sample.starts`` that are spread evenly over them."""
        possible = num_starts(clip.seen.timeline, bucket.num_frames, self.sample)
        choices = self.sample.starts or possible
        choice = int(torch.randint(choices, (), generator=generator(self.seed, index, "start")))
        return (2 * choice + 1) * possible // (2 * choices)  # the middles of ``choices`` equal parts

    def _flipped(self, clip: Clip, index: int) -> bool:
        return self.sample.flip and not names_direction(clip.caption) and chance(0.5, self.seed, index, "flip")


def _permutation(length: int, *key: int | str) -> np.ndarray:
    return torch.randperm(length, generator=generator(*key)).numpy()
