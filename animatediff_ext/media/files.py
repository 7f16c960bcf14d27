"""Files and folders that appear under their name only when whole."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from animatediff_ext.media.errors import DiskFullError, MediaError, StorageError
from animatediff_ext.whole_file import beside, check_takes_files, replace, whole_file

_FRAME_NAME = re.compile(r"\d{5,}\.png")
_OF_FILE_MANAGERS = re.compile(r"\.DS_Store|\._.*|Thumbs\.db|desktop\.ini", re.I)
"""What they leave in folders that somebody looked into."""
_DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # no quotas on Windows
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def new_file(path: str | os.PathLike) -> Iterator[Path]:
    """Lend a path in the same folder to write to, and give the file its name at the end.

    After any exception the file is gone, and an older file of that name is as it was. Missing folders are made.
    """
    path = Path(path)
    with explained(path), whole_file(path) as part:
        yield part


@contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Like ``new_file``, for a folder of numbered frames. Replaces such a folder, and refuses to replace any other."""
    path = Path(path)
    check_new_folder(path)
    with explained(path):
        part = beside(path)
        try:
            part.mkdir()
            yield part
            _swap_folder(part, path)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


def check_new_folder(path: Path) -> None:
    """Raises ``MediaError`` where `new_folder` would: before there is anything to write."""
    if path.exists() and not _holds_only_frames(path):
        raise MediaError(f"{path} exists and holds more than numbered frames; choose a folder that does not exist yet.")


def check_writable(folder: Path) -> None:
    """Make a folder if it is missing, and see whether files can be put there. Raises ``MediaError``."""
    try:
        with explained(folder):
            check_takes_files(folder)
    except (FileExistsError, NotADirectoryError) as error:
        raise MediaError(f"{folder} is to be a folder, but it is a file: choose another one.") from error


def _swap_folder(part: Path, path: Path) -> None:
    """A folder with files in it cannot be replaced in one step, so the old one steps aside first."""
    if not path.exists():
        replace(part, path)
        return
    old = beside(path)
    replace(path, old)
    try:
        replace(part, path)
    except BaseException:
        replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _holds_only_frames(path: Path) -> bool:
    ours = (_FRAME_NAME, _OF_FILE_MANAGERS)
    return path.is_dir() and all(any(one.fullmatch(entry.name) for one in ours) for entry in path.iterdir())


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say in a sentence what the file system refused. FFmpeg's errors carry the same numbers as Python's.

    Raises ``StorageError``, and of it ``DiskFullError`` where that is why.
    """
    try:
        yield
    except Exception as error:
        number = getattr(error, "errno", None)
        if number in _DISK_FULL:
            raise DiskFullError(
                f"The disk is full: {path} could not be written. Free some space and try again."
            ) from error
        if number in _FORBIDDEN:
            raise StorageError(
                f"{path} may not be written. Check that its folder is writable and that no program has it open."
            ) from error
        raise
