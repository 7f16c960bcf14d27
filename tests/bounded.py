"""Runs a command for at most so long, and ends all that it has started.

``python tests/bounded.py [--dump] SECONDS COMMAND …`` (Linux). The exit status is the command's, or 124 when the time
is over.

* Every process below the command is found, whatever session or group it has made for itself: this process takes over
  those whose parent has ended (PR_SET_CHILD_SUBREAPER). What is left at the end is named and killed.
* What they write goes through this process: nothing that outlives the command can keep the caller's pipe open.
* When the caller ends, the command is ended too (PR_SET_PDEATHSIG).

Standard library alone: it also runs before there is an environment.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

TIME_IS_OVER = 124  # as of timeout(1)
_PDEATHSIG, _CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_DUMP_S, _DRAIN_S = 5, 5
_STOPS = [signal.SIGTERM, signal.SIGINT] + ([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])


def end_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """From now on, the end of the thread that started this process sends it this signal. Linux alone knows that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PDEATHSIG, number)


def parent_of(pid: int) -> int | None:
    """None where no such process is living: it has ended, whether it has been waited for or not."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return None if state in "ZX" else int(parent)


def below(root: int) -> list[int]:
    """Every living process that descends from this one."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if parent := parent_of(int(folder.name)):
            children.setdefault(parent, []).append(int(folder.name))
    found = list(children.get(root, []))
    for pid in found:  # grows on the way
        found += children.get(pid, [])
    return found


def named(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        words = ""
    return f"{pid} {words.strip()[:150]}"


def _say(text: str) -> None:
    print(f"bounded: {text}", file=sys.stderr, flush=True)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _end_all(limit_s: float = 10) -> None:
    """Kill what is below this process until nothing is: what is killed may just have started something."""
    deadline = time.monotonic() + limit_s
    while (left := below(os.getpid())) and time.monotonic() < deadline:
        _signal(left, signal.SIGKILL)
        time.sleep(0.02)
        _bury()
    if left:
        _say(f"cannot be killed: {'; '.join(map(named, left))}")


def _bury() -> dict[int, int]:
    """The exit statuses of what has ended, by process: who takes processes over has to wait for them."""
    ended = {}
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended[found[0]] = os.waitstatus_to_exitcode(found[1])
    return ended


def _status_within(seconds: float, pid: int) -> int | None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (status := _bury().get(pid)) is not None:
            return 128 - status if status < 0 else status
        time.sleep(0.02)
    return None


def _pass_on(source: int, target: int) -> None:
    try:
        while piece := os.read(source, 65536):
            while piece:
                piece = piece[os.write(target, piece) :]
    except OSError:  # nobody reads any more; the command need not know
        while os.read(source, 65536):
            pass


def _stopped(number: int, _frame) -> None:
    raise SystemExit(128 + number)


def main(arguments: list[str]) -> int:
    dump = arguments[0] == "--dump"
    seconds, *command = arguments[dump:]
    parent = os.getppid()
    for number in _STOPS:
        signal.signal(number, _stopped)
    ctypes.CDLL(None).prctl(_CHILD_SUBREAPER, 1)
    end_with_parent(signal.SIGTERM)
    if os.getppid() != parent:  # it ended before the line above
        return 128 + signal.SIGTERM
    import resource  # which Windows has not

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipes = [os.pipe() for _ in range(2)]
    copiers = [
        threading.Thread(target=_pass_on, args=(source, target), daemon=True)
        for (source, _), target in zip(pipes, (1, 2), strict=True)
    ]
    try:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=pipes[0][1], stderr=pipes[1][1], start_new_session=True
        )
        for copier in copiers:
            copier.start()
        for _, into in pipes:
            os.close(into)
        status = _status_within(float(seconds), child.pid)
        left = below(os.getpid())
        if status is None:
            _say(f"{seconds} seconds are over; still running: {'; '.join(map(named, left))}")
        elif left:
            _say(f"left behind by the command, and ended: {'; '.join(map(named, left))}")
        if status is None and dump:  # Python under pytest shows on SIGABRT where all of its threads are
            _signal(left, signal.SIGABRT)
            deadline = time.monotonic() + _DUMP_S
            while below(os.getpid()) and time.monotonic() < deadline:
                time.sleep(0.02)
    finally:
        for number in _STOPS:
            signal.signal(number, signal.SIG_IGN)
        _end_all()
        for copier in copiers:
            if copier.is_alive():
                copier.join(_DRAIN_S)
    return TIME_IS_OVER if status is None else status


if __name__ == "__main__":
    # Not sys.exit, which would wait for whatever holds a pipe still.
    try:
        status = main(sys.argv[1:])
    except SystemExit as stop:
        status = stop.code
    sys.stderr.flush()
    os._exit(status)
