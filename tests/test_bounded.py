"""A run ends in time, and nothing that it has started lives on or keeps its output open."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import bounded

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found the way of Linux")

SCRIPT = Path(bounded.__file__)
SLEEPER = "import time; print('sleeping', flush=True); time.sleep(60)"
LEAVES = f"""
import subprocess, sys
other = subprocess.Popen([sys.executable, '-c', {SLEEPER!r}], start_new_session=True)
print(other.pid, flush=True)
sys.exit(3)
"""


def start(*words: str) -> subprocess.Popen:
    command = [sys.executable, str(SCRIPT), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def outcome(*words: str) -> tuple[int, str, str]:
    with start(*words) as run:
        try:
            out, error = run.communicate(timeout=60)
        finally:
            run.kill()
    return run.returncode, out, error


def has_ended(pid: int, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while bounded.parent_of(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    return bounded.parent_of(pid) is None


def test_status_and_output_are_the_commands():
    code = "import sys; print('said', input.__name__); print('complained', file=sys.stderr); sys.exit(5)"
    assert outcome("40", sys.executable, "-c", code) == (5, "said input\n", "complained\n")


def test_a_command_gets_no_input_to_wait_for():
    assert outcome("40", sys.executable, "-c", "input()")[0] == 1


def test_what_is_left_in_a_session_of_its_own_is_named_and_ended_and_the_pipes_close():
    status, out, error = outcome("40", sys.executable, "-c", LEAVES)
    pid = int(out.split()[0])
    assert status == 3
    assert f"left behind by the command, and ended: {pid} " in error
    assert has_ended(pid)


def test_when_the_time_is_over_all_is_ended_and_python_says_where_it_was():
    code = f"import faulthandler; faulthandler.enable(); {LEAVES.replace('sys.exit(3)', 'other.wait()')}"
    status, out, error = outcome("--dump", "3", sys.executable, "-c", f"exec({code!r})")
    assert status == bounded.TIME_IS_OVER
    assert "3 seconds are over" in error
    assert "subprocess.py" in error
    assert "in wait" in error
    assert has_ended(int(out.split()[0]))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_when_it_is_stopped_so_is_the_command(number):
    with start("60", sys.executable, "-c", f"import os; print(os.getpid()); {SLEEPER}") as run:
        pid = int(run.stdout.readline())
        assert run.stdout.readline() == "sleeping\n"
        run.send_signal(number)
        assert run.wait(timeout=40) == 128 + number
    assert has_ended(pid)


def test_when_its_caller_is_killed_so_is_the_command():
    command = [sys.executable, str(SCRIPT), "60", sys.executable, "-c", f"import os; print(os.getpid()); {SLEEPER}"]
    caller = f"import subprocess; subprocess.run({command!r})"
    with subprocess.Popen([sys.executable, "-c", caller], stdout=subprocess.PIPE, text=True) as run:
        pid = int(run.stdout.readline())
        assert run.stdout.readline() == "sleeping\n"
        run.kill()
    assert has_ended(pid)
