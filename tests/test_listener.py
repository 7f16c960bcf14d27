"""A reader that ends costs a command nothing."""

import errno
import os
import sys

import pytest

from animatediff_ext import __main__ as command_line
from animatediff_ext.listener import Listener, listeners


@pytest.fixture
def nobody():
    """A pipe that nobody reads."""
    reads, writes = os.pipe()
    os.close(reads)
    with open(writes, "w") as stream:
        yield stream


def test_what_is_said_to_nobody_is_lost_and_nothing_else(nobody):
    listener = Listener(nobody)
    assert listener.write("a word") == 6
    listener.flush()
    print("another one", file=nobody, flush=True)  # as Python itself does at its end


@pytest.mark.parametrize("answer", [errno.EINVAL, errno.EIO])
def test_a_reader_also_ends_on_windows_or_with_its_terminal(answer):
    """On Windows a pipe without a reader is an invalid argument, on Linux a terminal that was closed an I/O error."""

    class Nobody:
        def __init__(self, file):
            self.fileno = file.fileno

        def write(self, _text):
            raise OSError(answer, "nobody")

        flush = write

    with open(os.devnull, "w") as file:
        Listener(Nobody(file)).write("a word")


def test_a_full_disk_is_no_reader_that_ended(nobody, monkeypatch):
    def write(_text):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Listener(nobody)._stream, "write", write, raising=False)
    with pytest.raises(OSError, match="full"):
        Listener(nobody).write("a word")


def test_commands_speak_to_listeners_and_give_the_streams_back(nobody, monkeypatch):
    done = []

    def declare(parser):
        """speak"""
        parser.set_defaults(run=run)

    def run(_arguments):
        for stream in (sys.stdout, sys.stderr):
            print("a word", file=stream, flush=True)
        done.append(True)
        return 0

    monkeypatch.setitem(command_line.COMMANDS, "models", declare)
    monkeypatch.setattr(sys, "stdout", nobody)
    monkeypatch.setattr(sys, "stderr", nobody)
    assert command_line.main(["models"]) == 0
    assert done
    assert sys.stdout is sys.stderr is nobody


def test_the_streams_come_back_after_an_error():
    before = sys.stdout, sys.stderr

    def fail():
        with listeners():
            assert (sys.stdout, sys.stderr) != before
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (sys.stdout, sys.stderr) == before


def test_there_may_be_no_streams(monkeypatch):
    """As pythonw has it on Windows."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with listeners():
        print("a word")
