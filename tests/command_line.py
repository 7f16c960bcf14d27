"""The command line in processes of its own, as a user starts it, but for the time that imports take.

Processes are forked from one that has imported everything already and has computed nothing yet. What a launcher does is
tested with the launcher itself (`torchrun`).
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMPORTED = ("animatediff_ext.trainer.run", "animatediff_ext.standalone.generate")

_methods = multiprocessing.get_all_start_methods()
_context = multiprocessing.get_context("forkserver" if "forkserver" in _methods else "spawn")
if "forkserver" in _methods:
    _context.set_forkserver_preload(list(IMPORTED))


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def torchrun(*words: object, processes: int) -> subprocess.CompletedProcess:
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    command = [*launcher, f"--master-port={free_port()}", "-m", "animatediff_ext", *map(str, words)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=200)


class Command:
    """``python -m animatediff_ext`` with these words, in as many processes as are wanted: what torchrun sets is set."""

    def __init__(self, *words: object, processes: int = 1, variables: dict[str, str] | None = None):
        self._folder = Path(tempfile.mkdtemp())
        self._out, self._error = self._folder / "out", self._folder / "error"
        port = str(free_port())
        self._processes = []
        for rank in range(processes):
            of_launcher = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
            of_launcher |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            mine = environment() | ({k: str(v) for k, v in of_launcher.items()} if processes > 1 else {})
            process = _context.Process(
                target=_main, args=([str(word) for word in words], mine | (variables or {}), self._out, self._error)
            )
            process.start()
            self._processes.append(process)

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_exception) -> None:
        """Whatever a test found: else its end would wait for the end of the command."""
        for process in self._processes:
            process.kill()
        shutil.rmtree(self._folder)

    @property
    def out(self) -> str:
        """What has been printed so far."""
        return self._out.read_text() if self._out.exists() else ""

    @property
    def error(self) -> str:
        return self._error.read_text() if self._error.exists() else ""

    def is_running(self) -> bool:
        return any(process.is_alive() for process in self._processes)

    def send(self, number: signal.Signals) -> None:
        for process in self._processes:
            os.kill(process.pid, number)

    def wait(self, timeout_s: float = 120) -> int:
        """The exit status of the first process that failed; when one fails, the others are given ten seconds."""
        deadline = time.monotonic() + timeout_s
        while self.is_running():
            if any(process.exitcode for process in self._processes):
                deadline = min(deadline, time.monotonic() + 10)
            if time.monotonic() > deadline:
                for process in self._processes:
                    process.kill()
            time.sleep(0.01)
        return next(filter(None, (process.exitcode for process in self._processes)), 0)


def run(*words: object, processes: int = 1, variables: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Exit status, output and errors."""
    with Command(*words, processes=processes, variables=variables) as command:
        status = command.wait()
        return status, command.out, command.error


def _main(words: list[str], variables: dict[str, str], out: Path, error: Path) -> None:
    for stream, path in ((1, out), (2, error)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, stream)
        os.close(file)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", closefd=False) for stream in (1, 2))
    os.environ.clear()
    os.environ.update(variables)
    import torch

    from animatediff_ext.__main__ import main

    torch.set_num_threads(int(variables["OMP_NUM_THREADS"]))  # torch was imported before it could read that
    sys.argv = ["animatediff_ext", *words]
    sys.exit(main(words))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
