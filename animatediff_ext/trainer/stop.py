"""Stopping from outside: SIGTERM (a scheduler, ``kill``), Ctrl-C and a terminal that is closed let the step in work
finish and be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK")
"""Ctrl-Break, and no SIGHUP, on Windows. ``nohup`` shields torchrun alone, which hands a SIGHUP on to these."""


class StopWish:
    """Whether somebody wants the run to stop, and who."""

    reason = ""

    def __bool__(self) -> bool:
        return bool(self.reason)


@contextmanager
def stop_on_signals() -> Iterator[StopWish]:
    """Take note of the first signal; a second Ctrl-C breaks off at once."""
    wish = StopWish()

    def note(number: int, _frame) -> None:
        wish.reason = signal.Signals(number).name
        signal.signal(signal.SIGINT, before[signal.SIGINT])

    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    # A shell ignores SIGINT for what it starts in the background; any other that is ignored, the user has ignored.
    before = {n: handler for n, handler in before.items() if handler is not signal.SIG_IGN or n == signal.SIGINT}
    if threading.current_thread() is threading.main_thread():  # elsewhere, Python sets no handlers
        for number in before:
            signal.signal(number, note)
    try:
        yield wish
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)
