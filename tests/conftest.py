"""What holds for every test: none goes on for ever, and no process outlives the one that started it.

A test that takes longer than ``timeout`` (pyproject.toml; ``@pytest.mark.timeout`` for one) fails by pytest-timeout's
signal, which breaks off waiting for locks, processes and sockets. It cannot break off C code, nor what swallows its
exception: half a minute later the process of that test ends, with the traceback of every thread, and pytest-xdist goes
on in another one.
"""

import faulthandler
import gc
import os

import pytest

from tests.bounded import end_with_parent

_GRACE_S = 30
_errors = pytest.StashKey[int]()

if hasattr(os, "register_at_fork"):
    # A fork holds what this process has open: pytest-xdist, or who reads the output, would wait for its end.
    os.register_at_fork(after_in_child=end_with_parent)

# gradio asks its own page whether it is there, without a limit, and tells others that it was imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"


def pytest_configure(config):
    config.stash[_errors] = os.dup(2)  # not yet captured


def pytest_unconfigure(config):
    os.close(config.stash[_errors])


def pytest_collection_finish():
    """What test modules have imported stays: the garbage collector need not look through it time and again."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    if not (limit_s := _limit_s(item)) or item.config.getoption("usepdb"):
        return (yield)
    faulthandler.dump_traceback_later(limit_s + _GRACE_S, exit=True, file=item.config.stash[_errors])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _limit_s(item) -> float:
    marker = item.get_closest_marker("timeout")
    if marker:
        return float(marker.args[0] if marker.args else marker.kwargs["timeout"])
    return float(item.config.getoption("timeout") or item.config.getini("timeout") or 0)
