"""Learning in several processes at once, each with its share of the machine's cores.

The toy world's models are too small for the threads of one process: two processes of one thread each train twice as
fast as one of two threads.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from animatediff_ext.toy.workers import workers
from animatediff_ext.trainer.config import Config
from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.run import train


def train_abreast(stage: str, config: Config, num_processes: int) -> None:
    """Train as under torchrun, going on where an earlier call was stopped; each process takes its part of the batch.

    Raises `TrainError`.
    """
    batch, rest = divmod(config.sample.batch, num_processes)
    if rest:
        raise TrainError(
            f"{num_processes} processes cannot share a batch of {config.sample.batch}: give a number that divides it."
        )
    part = replace(config, sample=replace(config.sample, batch=batch))
    with workers(num_processes, torch.set_num_threads, _cores_for_each(num_processes)) as pool:
        port = _free_port()
        ranks = [pool.submit(_train, rank, num_processes, port, stage, part) for rank in range(num_processes)]
        for rank in ranks:
            rank.result()


@contextmanager
def beside(job: Callable[..., None], *arguments, num_processes: int) -> Iterator[None]:
    """Do a job while the block runs, in a process of its own; with one process in all, before it."""
    if num_processes == 1:
        job(*arguments)
        yield
        return
    threads, half = torch.get_num_threads(), _cores_for_each(2)
    with workers(1, torch.set_num_threads, half) as pool:
        done = pool.submit(job, *arguments)
        torch.set_num_threads(half)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
        done.result()


def _cores_for_each(num_processes: int) -> int:
    return max(1, (os.cpu_count() or 1) // num_processes)


def _train(rank: int, world: int, port: int, stage: str, config: Config) -> None:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    train(stage, config, resume="auto")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
