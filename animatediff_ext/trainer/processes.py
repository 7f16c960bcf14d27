"""One process, or many under torchrun (or any launcher that sets RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT)."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from animatediff_ext.complain import FAILED
from animatediff_ext.out_of_memory import is_out_of_memory
from animatediff_ext.standalone.processes import this_process
from animatediff_ext.trainer.error import TrainError

T = TypeVar("T")

_PATIENCE = timedelta(hours=2)
"""For the slowest thing that others wait for: the first look at a large set of clips, a personalised checkpoint."""

_KEPT: list[dist.ProcessGroup] = []
"""Gloo's groups, until this process ends. The last reference to one would be DistributedDataParallel's, and where that
goes, Python's lock is held while Gloo's thread is waited for, which may be waiting for the lock to let go of what was
broadcast last: a run then ends its work and never itself. See https://github.com/pytorch/pytorch/issues/56297."""


@dataclass(frozen=True, kw_only=True)
class Processes:
    """This process among all of them."""

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")
    _of_all: list[Exception] = field(default_factory=list, repr=False, compare=False)
    """Errors that every process raises."""

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def said_once(self, error: Exception) -> Exception:
        """For an error that every process raises at the same place: the main one says it, the others end silently."""
        mine = error if self.is_main else SaidByMainError()
        self._of_all.append(mine)
        return mine

    def is_of_all(self, error: BaseException | None) -> bool:
        """Whether every process raises it, or what it was made of."""
        return error is not None and (error in self._of_all or self.is_of_all(error.__cause__))

    def sums(self, values: Sequence[float] | torch.Tensor) -> list[float]:
        """The sums of these numbers over all processes; a tensor may be changed by it."""
        total = torch.as_tensor(values, dtype=torch.float64, device=self.device)
        if self.world > 1:
            with _others_are_there():
                dist.all_reduce(total)
        return total.tolist()

    def union(self, values: dict[str, str]) -> dict[str, str]:
        """The entries of all processes together."""
        if self.world == 1:
            return values
        gathered: list[dict[str, str]] = [{}] * self.world
        with _others_are_there():
            dist.all_gather_object(gathered, values)
        return {name: value for part in gathered for name, value in part.items()}

    def first(self, values: list[str]) -> str:
        """The first value of any process that is not empty, the same in all of them."""
        mine = next(filter(None, values), "")
        if not any(self.sums([float(bool(mine))])):
            return ""
        return next(iter(self.union({mine: ""} if mine else {})))

    def from_main(self, make: Callable[[], T]) -> T:
        """What the main process makes, in all of them; where it raises, all end."""
        if self.world == 1:
            return make()
        box: list[T | Exception] = [_made(make) if self.is_main else None]
        with _others_are_there():
            dist.broadcast_object_list(box, src=0, device=self.device)
        if isinstance(box[0], Exception):
            raise self.said_once(box[0])
        return box[0]

    def together(self, make: Callable[[], T]) -> T:
        """What each process makes for itself; where one raises, all end, and what it says is said once."""
        if self.world == 1:
            return make()
        mine = _made(make)
        problems: list[Exception | None] = [None] * self.world
        with _others_are_there():
            dist.all_gather_object(problems, mine if isinstance(mine, Exception) else None)
        problem = next(filter(None, problems), None)
        if problem is not None:
            raise self.said_once(problem)
        return mine


class SaidByMainError(Exception):
    """The main process says what is wrong."""


@contextmanager
def _others_are_there() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of gloo and of NCCL
        if is_out_of_memory(error) or "CUDA error" in str(error):
            raise
        raise TrainError(
            f"Another process of this run has ended, and says why above ({_first_line(error)})."
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _made(make: Callable[[], T]) -> T | Exception:
    try:
        return make()
    except Exception as error:
        return error


@contextmanager
def processes() -> Iterator[Processes]:
    """Join the others, if a launcher started several; part with them in the end.

    Under NCCL a process with an error of its own does not part with them: that would wait for what they compute, and
    they wait for this process. It has to end, which is what `ended_at_once` is for.

    Raises `TrainError`, or `SettingsError` where the launcher set what cannot be.
    """
    place = this_process()
    device = own_device(place.local_rank)
    if place.world == 1:
        yield Processes(device=device)
        return
    _join(device)
    backend = dist.get_backend()
    if backend == "gloo":
        _KEPT.append(dist.group.WORLD)
    group = Processes(rank=place.rank, world=place.world, device=device)
    try:
        yield group
    except BaseException as error:
        if backend == "gloo" or group.is_of_all(error):
            _part()
        raise
    _part()


def _part() -> None:
    with suppress(RuntimeError):  # where others are gone already
        dist.destroy_process_group()


@contextmanager
def ended_at_once(said: Callable[[BaseException], int | None]) -> Iterator[None]:
    """End this process where an error has left it joined to others: the launcher sees it, and ends them.

    ``said`` tells the user, and returns the exit status; None where nobody but a traceback can tell.
    """
    try:
        yield
    except BaseException as error:
        if not dist.is_initialized():
            raise
        status = said(error)
        if status is None:
            traceback.print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(FAILED if status is None else status)  # an orderly end would wait for the GPU, and so for the others


def own_device(local_rank: int = 0) -> torch.device:
    """What this machine trains on. Raises `TrainError` where it has fewer GPUs than processes."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise TrainError(
            f"This machine has {torch.cuda.device_count()} GPUs, but process {local_rank} of it was started: "
            "set --nproc-per-node to the number of GPUs."
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _backend(device: torch.device) -> str:
    """Windows has GPUs and no NCCL."""
    return "nccl" if device.type == "cuda" and dist.is_nccl_available() else "gloo"


def _join(device: torch.device) -> None:
    if sys.platform == "win32":  # whose torch is built without libuv, and asks for it
        os.environ.setdefault("USE_LIBUV", "0")
    try:
        dist.init_process_group(_backend(device), timeout=_PATIENCE)
    except (dist.DistNetworkError, dist.DistStoreError) as error:
        port = os.environ.get("MASTER_PORT", "29500")
        if "EADDRINUSE" in str(error) or "in use" in str(error):
            raise TrainError(
                f"Port {port} is taken, probably by another run on this machine: give torchrun another one with "
                "--master-port, or --rdzv-endpoint localhost:0 for any that is free."
            ) from error
        raise TrainError(
            f"The main process at {os.environ.get('MASTER_ADDR')}:{port} does not answer: start the same command on "
            "every machine, and let the port through the firewall."
        ) from error
    except ValueError as error:
        raise TrainError(f"The launcher did not say everything ({error}): start the run with torchrun.") from error
