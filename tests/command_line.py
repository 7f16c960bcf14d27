"""The command line in processes of its own, as a user starts it, but for the time that imports take.

On Linux, commands are forked from one process that has imported everything already (`command_server`); elsewhere each
is started anew. What a launcher does is tested with the launcher itself (`torchrun`).

No command outlives its test, the test its limit, or the process that runs the tests what it started: every wait has an
end, standard input is empty, and output goes into files or pipes of the test.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


def environment() -> dict[str, str]:
    mine = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    # Processes meet on this machine, whatever its name is said to lead to.
    return os.environ | mine | ({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {})


def python(
    *words: object, variables: Mapping[str, str] = {}, cwd: Path | str = ROOT, check: bool = True, timeout_s: float = 90
) -> subprocess.CompletedProcess:
    """Python in a process of its own, as it starts anywhere; raises if it fails, unless ``check`` is false."""
    command = [sys.executable, *map(str, words)]
    done = _run(command, cwd=cwd, env=os.environ | variables, timeout=timeout_s)
    assert not check or done.returncode == 0, done.stderr
    return done


def run_within(seconds: float, command: list[str], **how) -> subprocess.CompletedProcess:
    """A command that starts processes of its own: they end with it."""
    if sys.platform == "linux":
        command = [sys.executable, str(ROOT / "tests" / "bounded.py"), str(seconds), *command]
    return _run(command, timeout=seconds + 30, **{"cwd": ROOT} | how)


def _run(command: list[str], **how) -> subprocess.CompletedProcess:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, **how)


def torchrun(*words: object, processes: int, timeout_s: float = 120) -> subprocess.CompletedProcess:
    """Its processes have sessions of their own, and would outlive a launcher that is killed."""
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    where = ["--master-addr=127.0.0.1", "--local-addr=127.0.0.1", f"--master-port={free_port()}"]
    command = [*launcher, *where, "-m", "animatediff_ext", *map(str, words)]
    return run_within(timeout_s, command, env=environment())


class _Server:
    """The process that forks commands, from this side."""

    def __init__(self):
        self._channel, theirs = socket.socketpair()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.command_server"],
                stdin=theirs,
                stdout=self._log,
                stderr=self._log,
                cwd=ROOT,
                env=environment(),
                start_new_session=True,
            )
        atexit.register(self.close)
        self._rest = b""
        self._answer(120)  # imports take long where nothing has been read from the disk yet

    def ask(self, **request: object) -> dict:
        self._channel.sendall(json.dumps(request).encode() + b"\n")
        answer = self._answer(30)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def _answer(self, limit_s: float) -> dict:
        self._channel.settimeout(limit_s)
        try:
            while b"\n" not in self._rest:
                piece = self._channel.recv(65536)
                if not piece:
                    raise RuntimeError("The process that forks commands has ended.")
                self._rest += piece
        except (OSError, RuntimeError) as error:
            self.close()
            _server.cache_clear()
            self._log.seek(0)
            raise RuntimeError(f"No command can be started: {error}\n{self._log.read().decode()}") from error
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def close(self) -> None:
        self._channel.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=5)


@cache
def _server() -> _Server:
    return _Server()


class _Forked:
    """One process of a command."""

    def __init__(self, called: str, words: list[str], variables: dict[str, str], out: Path, error: Path):
        self._server = _server()
        command = {"called": called, "words": words, "variables": variables, "out": str(out), "error": str(error)}
        self.pid = self._server.ask(start=command)["pid"]

    def poll(self) -> int | None:
        return self._server.ask(poll=self.pid)["status"]

    def end(self) -> None:
        self._server.ask(end=self.pid)


class _Started:
    """The same without fork."""

    def __init__(self, called: str, words: list[str], variables: dict[str, str], out: Path, error: Path):
        module, _, function = called.partition(":")
        code = f"import sys; from {module} import {function} as called; sys.exit(called(sys.argv[1:]))"
        with out.open("ab") as to_out, error.open("ab") as to_error:
            self._process = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-c", code, *words],
                stdin=subprocess.DEVNULL,
                stdout=to_out,
                stderr=to_error,
                env=variables,
            )
        self.pid, self.poll = self._process.pid, self._process.poll

    def end(self) -> None:
        self._process.kill()
        self._process.wait(timeout=20)


class Command:
    """``python -m animatediff_ext`` with these words, in as many processes as are wanted: what torchrun sets is set.

    A context manager: whatever a test finds, at its end the command is ended.
    """

    def __init__(
        self,
        *words: object,
        processes: int = 1,
        variables: Mapping[str, str] = {},
        called: str = "animatediff_ext.__main__:main",
        fork: bool = sys.platform == "linux",
    ):
        """``called`` is given the list of words, and returns the exit status."""
        self._words = [str(word) for word in words]
        self._variables = []
        port = str(free_port())
        for rank in range(processes):
            of_launcher = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
            of_launcher |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            mine = environment() | ({k: str(v) for k, v in of_launcher.items()} if processes > 1 else {})
            self._variables.append(mine | variables)
        self._called, self._kind = called, _Forked if fork else _Started
        self._processes: list[_Forked | _Started] = []
        self._statuses: dict[int, int] = {}

    def __enter__(self) -> Command:
        self._folder = Path(tempfile.mkdtemp())
        self._out, self._error = self._folder / "out", self._folder / "error"
        try:
            for variables in self._variables:
                self._processes.append(self._kind(self._called, self._words, variables, self._out, self._error))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception) -> None:
        self.end()
        shutil.rmtree(self._folder)

    def end(self) -> None:
        while self._processes:
            self._processes.pop().end()

    @property
    def out(self) -> str:
        """What has been printed so far."""
        return self._out.read_text() if self._out.exists() else ""

    @property
    def error(self) -> str:
        return self._error.read_text() if self._error.exists() else ""

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def is_running(self) -> bool:
        for process in self._processes:
            if process.pid not in self._statuses and (status := process.poll()) is not None:
                self._statuses[process.pid] = status
        return len(self._statuses) < len(self._processes)

    def send(self, number: signal.Signals) -> None:
        for process in self._processes:
            os.kill(process.pid, number)  # what has ended is not buried before the end of the test

    def wait(self, timeout_s: float = 120) -> int:
        """The exit status of the first process that failed; when one fails, the others are given ten seconds.

        When the time is over, the errors show where each was.
        """
        deadline = time.monotonic() + timeout_s
        while self.is_running():
            if any(self._statuses.values()):
                deadline = min(deadline, time.monotonic() + 10)
            if time.monotonic() > deadline:
                self.send(signal.SIGABRT)
                deadline = time.monotonic() + 2
                while self.is_running() and time.monotonic() < deadline:
                    time.sleep(0.01)
                break
            time.sleep(0.01)
        statuses = [self._statuses.get(process.pid, -signal.SIGKILL) for process in self._processes]
        return next(filter(None, statuses), 0)


def run(
    *words: object, processes: int = 1, variables: Mapping[str, str] = {}, timeout_s: float = 120
) -> tuple[int, str, str]:
    """Exit status, output and errors."""
    with Command(*words, processes=processes, variables=variables) as command:
        status = command.wait(timeout_s)
        return status, command.out, command.error


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
