"""Processes that work side by side, each begun in the same way."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from animatediff_ext.listener import Listener


def workers(number: int, begin: Callable[..., None], *arguments) -> ProcessPoolExecutor:
    """Processes that call ``begin(*arguments)`` before their first job."""
    # spawned, since a fork takes over locks of threads that it has not got
    return ProcessPoolExecutor(number, get_context("spawn"), initializer=_begin, initargs=(begin, *arguments))


def _begin(begin: Callable[..., None], *arguments) -> None:
    sys.stdout, sys.stderr = Listener(sys.stdout), Listener(sys.stderr)
    begin(*arguments)
