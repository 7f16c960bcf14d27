"""One at a time, among the processes of a machine."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from animatediff_ext.whole_file import check_takes_files

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)
"""Of network file systems that know no locks (NFS without its daemon, FUSE), where it is no `NotImplementedError`."""
LOCK = ".lock"
"""The file to hold for whoever wants a folder for itself."""


@contextmanager
def held(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the file ``path``, which is made if it is missing, while the block runs; it lets go however a process ends.

    Raises `BlockingIOError` where another process has it and ``wait`` is False, and `OSError` where it cannot be made.
    """
    from filelock import FileLock, Timeout  # which torch brings, and huggingface_hub

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout as error:
        check_takes_files(path.parent)  # on Windows, filelock waits for a right as it does for another process
        raise BlockingIOError(f"{path} is held by another process") from error
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        yield
        return
    try:
        yield
    finally:
        lock.release()
