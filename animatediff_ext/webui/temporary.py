"""Files that nobody keeps: what only the gallery shows, and what an answer is made of."""

from __future__ import annotations

import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from animatediff_ext.media import ENDINGS
from animatediff_ext.webui import host

_PREFIX, _NAME = "animatediff-", "animation"
_FOLDERS = re.compile(rf"{_PREFIX}[a-z0-9_]{{8}}")
"""As Python's ``tempfile`` makes names."""
_FILES = {f"{_NAME}{ending}" for ending in ENDINGS.values() if ending}
_DAY_S = 24 * 60 * 60


def preview_stem() -> Path:
    """In a folder for what only the gallery shows; `remove_old_previews` removes it some day."""
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=host.temporary_folder())) / _NAME


@contextmanager
def stem_for_now() -> Iterator[Path]:
    """In a folder that goes again: nothing stays on the disk of a service that asked for nothing to be saved."""
    with folder_for_now() as folder:
        yield folder / _NAME


@contextmanager
def folder_for_now() -> Iterator[Path]:
    """On Windows somebody else may have a file open, a virus scanner for instance; then it stays."""
    how = {"dir": host.temporary_folder(), "ignore_cleanup_errors": True}
    with tempfile.TemporaryDirectory(prefix=_PREFIX, **how) as folder:
        yield Path(folder)


def remove_old_previews() -> None:
    """Remove those of yesterday and before; callback of the WebUI before it builds its page.

    Of folders that are called like ours, only those go that have nothing but files called like ours in them.
    """
    with suppress(OSError):
        for entry in list(os.scandir(host.temporary_folder() or tempfile.gettempdir())):
            if _FOLDERS.fullmatch(entry.name):
                with suppress(OSError):  # of another user, or open
                    _remove(Path(entry.path))


def _remove(folder: Path) -> None:
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or time.time() - about.st_mtime < _DAY_S:
        return
    files = list(folder.iterdir())
    if all(file.name in _FILES and stat.S_ISREG(file.lstat().st_mode) for file in files):
        for file in files:
            file.unlink()
        folder.rmdir()
