"""Many clips of the toy world at once, in processes of one thread each.

Its models are too small for the threads of one process: two processes make twice as many clips.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from animatediff_ext.toy.studio import Studio
from animatediff_ext.toy.workers import workers


@dataclass(frozen=True, kw_only=True)
class Take:
    """One clip to be made."""

    image_model: str
    motion: str | None
    prompt: str
    seed: int
    loras: Sequence[tuple[str, float]] = ()
    how: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `Studio.clip`."""

    def by(self, studio: Studio) -> np.ndarray:
        """uint8 ``(f h w 3)``."""
        return studio.clip(self.image_model, self.motion, self.prompt, self.seed, loras=self.loras, **self.how)


class Crew:
    """Makes the clips of one studio; a context manager, since its processes have to end. One process is this one."""

    def __init__(self, studio: Studio, num_processes: int = 1):
        if num_processes < 1:
            raise ValueError(f"{num_processes} processes can make no clips: give 1 or more.")
        self._studio = studio
        self._num_processes = num_processes
        self._pool: ProcessPoolExecutor | None = None
        self._ended = ExitStack()

    def __enter__(self) -> Crew:
        if self._num_processes > 1:
            self._pool = self._ended.enter_context(workers(self._num_processes, _begin, self._studio.folder))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._ended.close()
        self._pool = None

    def clips(self, takes: Sequence[Take]) -> Iterator[np.ndarray]:
        """In the order of the takes, each as soon as it and those before it are there."""
        if self._pool is None:
            return (take.by(self._studio) for take in takes)
        return self._pool.map(_make, takes)


def _begin(folder: Path) -> None:
    global _studio  # of this process, which makes nothing but clips
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # goes to all processes of a terminal; the one that asked decides
    _studio = Studio(folder)


def _make(take: Take) -> np.ndarray:
    return take.by(_studio)
