"""Words for a reader that may have ended: it costs the work nothing.

Ctrl-C in ``train 2>&1 | tee log`` ends ``tee`` as well, and a terminal can be closed while a list of jobs goes on.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import TextIO

_NOBODY_LISTENS = (errno.EPIPE, errno.EINVAL, errno.EIO)
"""The second is what Windows says of a pipe whose reader has ended, the third what Linux says of a terminal that was
closed."""


class Listener:
    """A stream, as long as somebody reads it."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str):
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._told(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._told(self._stream.flush)

    def _told(self, tell, *words: str) -> None:
        try:
            tell(*words)
        except OSError as error:
            if error.errno not in _NOBODY_LISTENS:
                raise
            # from now on into nothing, for whoever else writes there: Python itself at its end
            with suppress(OSError), open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), self._stream.fileno())


@contextmanager
def listeners() -> Iterator[None]:
    """Standard output and errors are listeners while the block runs."""
    with redirect_stdout(_of(sys.stdout)), redirect_stderr(_of(sys.stderr)):
        yield


def _of(stream: TextIO | None) -> Listener | None:
    return stream and Listener(stream)  # without a console, Windows gives a program no streams
