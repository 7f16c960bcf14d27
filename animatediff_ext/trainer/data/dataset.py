"""Micro-batches by number: what one process reads for one forward pass.

Axes: f frames, c channels, h height, w width.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch.utils.data import DataLoader, Dataset

from animatediff_ext.media import MediaError
from animatediff_ext.trainer.data.cache import TensorCache, Tensors, latents_key
from animatediff_ext.trainer.data.look import Bad
from animatediff_ext.trainer.data.pixels import pixels_of
from animatediff_ext.trainer.data.plan import Plan
from animatediff_ext.trainer.data.take import Take, share
from animatediff_ext.trainer.error import TrainError

MAX_REPLACEMENTS = 20
"""Clips that are tried for one sample before the run gives up."""
_BATCHES_AHEAD = 2
"""Of each worker."""
_PIXELS = "pixels"


@dataclass(frozen=True, kw_only=True)
class Example:
    """One sample: its latents if the cache has them, else its pixels."""

    take: Take
    caption: str
    pixels: torch.Tensor | None
    """uint8 ``f c h w``."""
    latents: Tensors | None
    bad: tuple[Bad, ...]
    """Clips that could not be read and that this one stands in for: name and what is wrong, the same ever again."""


class ClipDataset(Dataset):
    """The micro-batches of one process, numbered through all steps: step × ``accumulate`` + place in the step.

    A clip that cannot be read is replaced by another, so that every process always has the same number of batches.
    """

    def __init__(
        self,
        plan: Plan,
        cache: TensorCache,
        *,
        rank: int,
        world: int,
        batch: int,
        accumulate: int,
        vae_fingerprint: str,
    ):
        """``batch``: clips of a micro-batch; world × batch × accumulate is the plan's global batch."""
        assert plan.global_batch == world * batch * accumulate
        self.plan, self.cache, self.vae_fingerprint = plan, cache, vae_fingerprint
        self.rank, self.world, self.batch, self.accumulate = rank, world, batch, accumulate
        self._complaints: dict[tuple, str] = {}  # by the identity of clips that need not be tried again

    def __getitem__(self, number: int) -> list[Example]:
        """Raises `TrainError` if a sample finds no clip that can be read."""
        step, micro = divmod(number, self.accumulate)
        takes = share(self.plan.takes(step), self.rank, self.world, self.batch, micro)
        return [self._example(take) for take in takes]

    def _example(self, planned: Take) -> Example:
        take, bad = planned, []
        for attempt in range(MAX_REPLACEMENTS):
            try:
                return self._read(take, tuple(bad))
            except MediaError as error:
                bad.append((take.clip.name, take.clip.complaint(error)))
                take = self.plan.replacement(planned, attempt)
        name, complaint = bad[0]
        raise TrainError(
            f"{MAX_REPLACEMENTS} clips in a row cannot be read, the first of which is {name}: it {complaint} "
            "Check that the data is still there."
        )

    def _read(self, take: Take, bad: tuple[Bad, ...]) -> Example:
        latents = self.cache.get(latents_key(take, self.vae_fingerprint))
        pixels = None if latents else self._pixels(take)
        return Example(take=take, caption=take.clip.caption, pixels=pixels, latents=latents, bad=bad)

    def _pixels(self, take: Take) -> torch.Tensor:
        known = take.clip.identity()
        if known in self._complaints:
            raise MediaError(self._complaints[known])
        try:
            return pixels_of(take)
        except MediaError as error:
            self._complaints[known] = str(error)
            raise


def batches(dataset: ClipDataset, first: int, last: int, workers: int) -> Iterator[list[Example]]:
    """Yield micro-batches ``first`` to ``last`` - 1, read ahead by ``workers`` processes; 0: in this one, when asked.

    The same ones for any number of workers. No random number of this process is used up. Raises `TrainError`.
    """
    loader = DataLoader(
        _Told(dataset),
        batch_size=None,
        sampler=range(first, last),
        num_workers=workers,
        collate_fn=_packed,
        prefetch_factor=_BATCHES_AHEAD if workers else None,
        worker_init_fn=_begin_worker,
        generator=torch.Generator(),  # else a seed for the workers is drawn from the global one
    )
    reading = _reader(loader)
    try:
        for packet in reading:
            if isinstance(packet, TrainError):
                raise packet
            yield _unpacked(packet)
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):  # PyTorch's word for one that has died
            raise
        reason = str(error).strip(" .")
        raise TrainError(
            f"A process that reads clips has ended ({reason}), most often for want of memory: lower sample.workers, or "
            "give more shared memory (docker run --shm-size)."
        ) from error
    finally:
        del reading  # ends the workers now: the traceback of an error may keep this frame for long


def _reader(loader: DataLoader) -> Iterator:
    """Start the workers, without PyTorch's handler of SIGCHLD.

    When a worker ends, that raises an error wherever the training process happens to be, such as in the middle of
    saving a state. Who asks for the next batch is told as well, a few seconds later.
    """
    if not hasattr(signal, "SIGCHLD"):
        return iter(loader)
    before = signal.getsignal(signal.SIGCHLD)
    reading = iter(loader)
    if signal.getsignal(signal.SIGCHLD) is not before:
        signal.signal(signal.SIGCHLD, before)
    return reading


class _Told(Dataset):
    """Hands errors for the user over as they are; PyTorch would wrap them into the traceback of the worker."""

    def __init__(self, dataset: ClipDataset):
        self._dataset = dataset

    def __getitem__(self, number: int) -> list[Example] | TrainError:
        try:
            return self._dataset[number]
        except TrainError as error:
            return error
        except (MemoryError, OSError) as error:
            return TrainError(
                f"Clips of step {number // self._dataset.accumulate + 1} cannot be read ({type(error).__name__}: "
                f"{error}): where memory is short, lower sample.workers, or take smaller videos."
            )


@dataclass(frozen=True, kw_only=True)
class _Packet:
    """A micro-batch on its way to the training process.

    On Linux every tensor that a worker sends stays an open file, of which a process may have no more than 1024: so the
    tensors of one kind, which are of one size within a batch, are one.
    """

    examples: list[Example]
    """Without their tensors."""
    kinds: list[list[str]]
    """Which tensors each example has."""
    tensors: Tensors


def _packed(examples: list[Example] | TrainError) -> _Packet | TrainError:
    if isinstance(examples, TrainError):
        return examples
    tensors = [example.latents or {_PIXELS: example.pixels} for example in examples]
    kinds = dict.fromkeys(kind for of_one in tensors for kind in of_one)
    return _Packet(
        examples=[replace(example, pixels=None, latents=None) for example in examples],
        kinds=[list(of_one) for of_one in tensors],
        tensors={kind: torch.stack([of_one[kind] for of_one in tensors if kind in of_one]) for kind in kinds},
    )


def _unpacked(packet: _Packet) -> list[Example]:
    rows = {kind: iter(tensor) for kind, tensor in packet.tensors.items()}
    tensors = [{kind: next(rows[kind]) for kind in kinds} for kinds in packet.kinds]
    return [
        replace(example, pixels=of_one.pop(_PIXELS, None), latents=of_one or None)
        for example, of_one in zip(packet.examples, tensors, strict=True)
    ]


def _begin_worker(_: int) -> None:
    torch.set_num_threads(1)
    # Ctrl-C goes to all processes of a terminal; the training process alone decides what it means. SIGTERM ends a
    # worker, since that is how a process ends its workers when it exits.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
