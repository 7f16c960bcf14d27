"""Frames that are costly to make: made once, read as often as several files, and the trials of a GIF, want them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from tempfile import SpooledTemporaryFile

import numpy as np

from animatediff_ext.media.errors import StorageError
from animatediff_ext.media.frames import Frames, rgb_frames

MOST_BYTES_IN_MEMORY = 256 * 1024**2
"""Ten seconds of 512x512 at 32 frames per second."""


@contextmanager
def kept(frames: Frames, folder: Path, *, most_bytes: int = MOST_BYTES_IN_MEMORY) -> Iterator[Frames]:
    """Lend the same frames, as uint8 arrays ``h w 3``; each is made when it is asked for the first time.

    What is more than ``most_bytes`` waits in a file without a name in ``folder``: not where the system has its own,
    which may be memory again. Raises ``StorageError`` where that is full.
    """
    with SpooledTemporaryFile(max_size=most_bytes, dir=folder) as file:
        yield _Kept(frames, file, folder)


class _Kept:
    def __init__(self, frames: Frames, file: SpooledTemporaryFile, folder: Path) -> None:
        self._frames, self._file, self._folder = frames, file, folder
        self._to_come = rgb_frames(frames)
        self._shape: tuple[int, ...] = ()
        self._num_made = 0

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[np.ndarray]:
        index = 0
        while index < self._num_made or self._make_one_more():
            yield self._frame(index)
            index += 1

    def _make_one_more(self) -> bool:
        frame = next(self._to_come, None)
        if frame is None:
            return False
        try:
            self._file.seek(0, os.SEEK_END)
            self._file.write(frame.data)
        except OSError as error:
            raise StorageError(
                f"The frames of the clip found no room in {self._folder} while it was saved ({error.strerror}): free "
                "some space there, or lower Interp X."
            ) from error
        self._shape = frame.shape
        self._num_made += 1
        return True

    def _frame(self, index: int) -> np.ndarray:
        num_bytes = prod(self._shape)
        self._file.seek(index * num_bytes)
        return np.frombuffer(bytearray(self._file.read(num_bytes)), np.uint8).reshape(self._shape)
