"""Has imported everything, computes nothing, and forks a command whenever one is asked for: see `command_line`.

Requests and answers are lines of JSON on the socket that is its standard input. It is one thread, so that a fork takes
over no lock that is held; it ends with its parent, or as soon as the socket is closed, and its commands end with it.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import os
import signal
import socket
import sys
from datetime import timedelta
from pathlib import Path

import torch

import animatediff_ext.__main__
import animatediff_ext.standalone.generate
import animatediff_ext.trainer.run  # noqa: F401
from animatediff_ext.trainer import processes
from tests.bounded import end_with_parent


def serve(channel: socket.socket) -> dict | None:
    """Answer requests until there are no more: None. In the process of a command, what it is to do."""
    server = os.getpid()
    requests, running = channel.makefile("r"), set()
    channel.sendall(b'{"ready": true}\n')
    for line in requests:
        request = json.loads(line)
        answer: dict = {}
        match request:
            case {"start": command}:
                threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
                if len(threads) > 1:
                    answer["error"] = f"threads are running, and a fork could hang: {threads}"
                elif pid := os.fork():
                    running.add(pid)
                    answer["pid"] = pid
                else:
                    end_with_parent()
                    if os.getppid() != server:  # it ended before the line above
                        os._exit(1)
                    requests.close()
                    channel.close()
                    return command
            case {"poll": pid}:
                answer["status"] = _status(pid)
            case {"end": pid} if pid in running:
                _end(pid)
                running.remove(pid)
        channel.sendall(json.dumps(answer).encode() + b"\n")
    for pid in running:
        _end(pid)
    return None


def _status(pid: int) -> int | None:
    """As of `subprocess`; the process is left to be buried, so that its number is nobody else's yet."""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _end(pid: int) -> None:
    """With the processes that it has started."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # it has not got as far as a group of its own
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def become(command: dict) -> None:
    """This process is the command's: its own group, files, environment."""
    os.setsid()
    writing = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = (os.devnull, os.O_RDONLY), (command["out"], writing), (command["error"], writing)
    for number, (path, how) in enumerate(files):
        file = os.open(path, how)
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(i, mode, closefd=False) for i, mode in enumerate("rww"))
    faulthandler.enable()  # SIGABRT shows where it was
    os.environ.clear()
    os.environ.update(command["variables"])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))  # torch was imported before it could read that
    processes._PATIENCE = timedelta(seconds=60)  # a process whose others are gone says so within the test
    sys.argv = ["animatediff_ext", *command["words"]]


def run(channel: socket.socket) -> None:
    """Serve; in the process of a command, be that."""
    end_with_parent()
    command = serve(channel)
    if command is not None:
        become(command)
        module, _, function = command["called"].partition(":")
        sys.exit(getattr(importlib.import_module(module), function)(command["words"]))


if __name__ == "__main__":
    gc.freeze()
    # Descriptor 0 is the socket alone: a command gets another one there.
    connection = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    run(socket.socket(fileno=connection))
