"""Commands of tests run as a user's do, and never longer than their test."""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from tests import command_server
from tests.bounded import parent_of
from tests.command_line import Command

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked and found the way of Linux")


@linux
def test_a_command_is_a_users(tmp_path):
    with Command("inspect", tmp_path / "gone.ckpt") as command:
        assert command.wait(60) == 1
        assert "gone.ckpt is not there" in command.error
        assert command.out == ""


@pytest.mark.parametrize("fork", [pytest.param(True, marks=linux, id="forked"), pytest.param(False, id="started")])
def test_it_writes_into_files_of_its_test(fork):
    with Command("--help", fork=fork) as command:
        assert command.wait(60) == 0
        assert command.out.startswith("usage: python -m animatediff_ext")
        assert command.error == ""


@pytest.fixture
def waiting():
    """A command that has come to where it waits for another one, which never answers."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        other.settimeout(60)
        port = str(other.getsockname()[1])
        where = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        with Command("train", "motion", variables=where) as command:
            connection, _ = other.accept()
            with connection:
                yield command


@linux
def test_a_waiting_command_is_known_by_its_threads_and_files_and_ends_with_its_test(waiting):
    (pid,) = waiting.pids
    assert len(list(Path(f"/proc/{parent_of(pid)}/task").iterdir())) == 1, "a fork may hang where threads are"
    files = {path.name: path.readlink() for path in Path(f"/proc/{pid}/fd").iterdir()}
    assert [files[number].name for number in "012"] == ["null", "out", "error"]
    assert not [file for file in files.values() if str(file).startswith("pipe:")], "somebody waits for its end"
    assert waiting.is_running()
    waiting.end()
    assert not Path(f"/proc/{pid}").exists()


@linux
def test_when_the_time_is_over_it_says_where_it_was_and_is_ended(waiting):
    assert waiting.wait(0.1) == -signal.SIGABRT
    assert "init_process_group" in waiting.error


@linux
def test_when_the_process_of_the_tests_is_killed_its_commands_end():
    with Command(called=f"{__name__}:other_tests") as tests:
        deadline = time.monotonic() + 30
        while not tests.out.endswith("\n"):
            assert tests.is_running(), tests.error
            assert time.monotonic() < deadline
            time.sleep(0.01)
        server, command = map(int, tests.out.split())
        assert parent_of(command) == server
        tests.send(signal.SIGKILL)
        for pid in (server, command):
            while parent_of(pid) is not None:
                assert time.monotonic() < deadline
                time.sleep(0.01)


def other_tests(_words):
    """A process that has a server, and that a command; tells both numbers."""
    ours, theirs = socket.socketpair()
    server = os.fork()
    if not server:
        ours.close()
        command_server.run(theirs)
        return
    command = {"called": f"{__name__}:endless", "words": [], "out": os.devnull, "error": os.devnull}
    command["variables"] = dict(os.environ)
    ours.sendall(json.dumps({"start": command}).encode() + b"\n")
    with ours.makefile() as answers:
        _, started = json.loads(answers.readline()), json.loads(answers.readline())
    print(server, started["pid"], flush=True)
    endless([])


def endless(_words):
    time.sleep(60)
