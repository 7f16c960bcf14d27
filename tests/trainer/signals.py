"""Signals to a run at one of its steps."""

import time

from animatediff_ext.trainer.state import states_folder
from tests import command_line


def sent_at_step(number, words, output, step):
    """Start the command, wait until a state of that step is there, then send the signal: how it ended."""
    with command_line.Command("train", *words) as command:
        return _sent(number, command, output, step)


def _sent(number, command, output, step):
    wanted = states_folder(output) / f"step-{step:08d}.state"
    deadline = time.monotonic() + 90
    while not wanted.exists():
        assert command.is_running(), command.error
        assert time.monotonic() < deadline
        time.sleep(0.01)
    command.send(number)
    return command.wait(60), command.error
