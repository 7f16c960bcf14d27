"""Commands of tests run as a user's do, and never longer than their test."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import command_line
from tests.command_line import Command

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked and found the way of Linux")
WAYS = [pytest.param(True, marks=linux, id="forked"), pytest.param(False, id="started")]


@pytest.mark.parametrize("fork", WAYS)
def test_a_command_is_a_users(fork, tmp_path):
    with Command("inspect", tmp_path / "gone.ckpt", fork=fork) as command:
        assert command.wait(60) == 1
        assert "gone.ckpt is not there" in command.error
    with Command("--help", fork=fork) as command:
        assert command.wait(60) == 0
        assert command.out.startswith("usage: python -m animatediff_ext")


@pytest.fixture
def waiting(tmp_path):
    """Words of a command that does not end by itself: it waits for one that never comes."""
    return ["train", "motion", "--set", f"run.output={tmp_path}"], {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "0"}


@linux
def test_the_process_that_forks_is_one_thread(waiting):
    words, variables = waiting
    with Command(*words, variables=where(variables)) as command:
        server = int(Path(f"/proc/{command.pids[0]}/stat").read_text().rpartition(")")[2].split()[1])
        assert len(list(Path(f"/proc/{server}/task").iterdir())) == 1


def where(variables):
    return variables | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(command_line.free_port())}


@linux
def test_a_command_reads_nothing_and_writes_into_files_of_its_test(waiting):
    words, variables = waiting
    with Command(*words, variables=where(variables)) as command:
        deadline = time.monotonic() + 10
        open_files = Path(f"/proc/{command.pids[0]}/fd")
        while open_files.joinpath("1").readlink().name != "out":
            assert time.monotonic() < deadline
        while open_files.joinpath("2").readlink().name != "error":
            assert time.monotonic() < deadline
        assert open_files.joinpath("0").readlink() == Path("/dev/null")
        files = [str(path.readlink()) for path in open_files.iterdir()]
        assert not [file for file in files if file.startswith("pipe:")]


@linux
def test_when_the_time_is_over_it_says_where_it_was_and_is_ended(waiting):
    words, variables = waiting
    with Command(*words, variables=where(variables)) as command:
        assert command.wait(1.5) == -signal.SIGABRT
        assert "init_process_group" in command.error


@linux
def test_at_the_end_of_the_test_it_is_ended(waiting):
    words, variables = waiting
    with Command(*words, variables=where(variables)) as command:
        assert command.is_running()
        (pid,) = command.pids
    assert not Path(f"/proc/{pid}").exists()


@linux
def test_when_the_process_of_the_tests_is_killed_its_commands_end(waiting):
    words, variables = waiting
    code = f"""
from tests.command_line import Command
with Command(*{words!r}, variables={where(variables)!r}) as command:
    print(*command.pids, flush=True)
    command.wait(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=command_line.ROOT, stdout=subprocess.PIPE, text=True
    ) as tests:
        (pid,) = tests.stdout.readline().split()
        tests.kill()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.01)
