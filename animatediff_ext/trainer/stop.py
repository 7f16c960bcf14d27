"""Stopping from outside: SIGTERM (a scheduler, ``kill``) and Ctrl-C let the step in work finish and be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


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

    names = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in names}
    if threading.current_thread() is threading.main_thread():  # elsewhere, Python sets no handlers
        for number in names:
            signal.signal(number, note)
    try:
        yield wish
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)
