"""Files that appear under their name only when whole."""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_WAITS = (0.1,) * 30 if os.name == "nt" else ()
"""Seconds between tries. Windows renames and deletes nothing that somebody has open, if only a virus scanner for a
moment."""
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.I)


def is_device(name: str) -> bool:
    """Whether a file of that name would be a device on Windows, where nothing is kept."""
    return _DEVICES.fullmatch(name) is not None


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Lend a path in the same folder to write to, and give the file its name at the end.

    After any exception the file is gone, and an older file of that name is as it was. Missing folders are made.
    """
    part = beside(path)
    try:
        part.touch()
        mode = part.stat().st_mode  # rights as the user's files have them; some writers make theirs private
        yield part
        with suppress(OSError):  # of mounts without them, such as CIFS
            part.chmod(mode)
        replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def replace(part: Path, path: Path) -> None:
    """`os.replace`, tried again for a while where something else has one of the two open."""
    patiently(lambda: os.replace(part, path))


def check_takes_files(folder: Path) -> None:
    """Make a folder if it is missing, and see whether files can be put there. Raises `OSError`."""
    part = beside(folder / "any")
    part.touch()
    patiently(part.unlink)


def patiently(act: Callable[[], None]) -> None:
    """Do something with a file, again and again for a while where something else has it open."""
    for seconds in _WAITS:
        try:
            act()
            return
        except PermissionError:
            time.sleep(seconds)
    act()


def beside(path: Path) -> Path:
    """A new path in the same folder, which is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A short name of its own: the final name may be as long as the file system allows, and its path as Windows does.
    return path.parent / f".{uuid.uuid4().hex[:8]}.part"
