"""Models that stay loaded from job to job."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import torch

from animatediff_ext.formats import LoraFile, load_motion_module, sha256_of_file
from animatediff_ext.motion import MotionModel
from animatediff_ext.standalone.job import Job
from animatediff_ext.standalone.load import load_spatial_model
from animatediff_ext.standalone.lora import load_whole_lora
from animatediff_ext.standalone.spatial import SpatialModel

T = TypeVar("T")

CHECKPOINTS, MOTION_MODULES, LORAS = 2, 2, 8
"""How many stay in memory."""


class Recent(Generic[T]):
    """The last few things that were made, by key."""

    def __init__(self, most: int):
        self._most = most
        self._kept: OrderedDict[tuple, T] = OrderedDict()

    def get(self, key: tuple, make: Callable[[], T]) -> T:
        """The thing of this key. The oldest one goes before a new one is made, so that there are never more."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        while len(self._kept) >= self._most:
            self._kept.popitem(last=False)
        return self._kept.setdefault(key, make())

    def others(self, key: tuple) -> list[T]:
        return [thing for known, thing in self._kept.items() if known != key]


class Models:
    """What jobs share. A file that was changed since is read again; ``~`` in front of a path is the user's folder."""

    def __init__(self):
        self._spatial: Recent[SpatialModel] = Recent(CHECKPOINTS)
        self._motion: Recent[MotionModel] = Recent(MOTION_MODULES)
        self._loras: Recent[LoraFile] = Recent(LORAS)
        self._digests: dict[tuple, str] = {}

    def spatial(self, job: Job, device: torch.device, dtype: torch.dtype) -> SpatialModel:
        """The job's image model on ``device``, or with ``low_memory`` in main memory, where all others are."""
        files = (job.checkpoint, job.vae, job.tokenizer)
        key = (*map(_version, files), job.prediction, dtype)
        for other in self._spatial.others(key):
            other.to("cpu")
        model = self._spatial.get(
            key,
            lambda: load_spatial_model(
                job.checkpoint,
                vae=job.vae or None,
                tokenizer=job.tokenizer or None,
                prediction=job.prediction,
                dtype=dtype,
            ),
        )
        return model.to("cpu" if job.low_memory else device)

    def motion(self, path: str) -> MotionModel:
        file = _here(path)
        return self._motion.get(_version(file), lambda: load_motion_module(file))

    def lora(self, path: str | Path) -> LoraFile:
        file = _here(path)
        return self._loras.get(_version(file), lambda: load_whole_lora(file))

    def digest(self, path: str | Path) -> str:
        """SHA-256 of a file in hexadecimal, empty for a folder."""
        file = _here(path)
        if file.is_dir():
            return ""
        key = _version(file)
        if key not in self._digests:
            self._digests[key] = sha256_of_file(file)
        return self._digests[key]


def _here(path: str | Path) -> Path:
    return Path(os.path.expanduser(path))  # that of Path fails where ~name is no user


def _version(path: str | Path) -> tuple[str, int]:
    """A file as it is now. One that is not there is told by whoever reads it."""
    file = Path(path)
    return str(path), file.stat().st_mtime_ns if path and file.exists() else 0
