"""One at a time, among the processes of a machine."""

import filelock
import pytest

from animatediff_ext import held as held_module
from animatediff_ext.held import held


def test_who_comes_second_is_told(tmp_path):
    again = held(tmp_path / "lock", wait=False)
    with held(tmp_path / "lock"), pytest.raises(BlockingIOError, match="is held by another process"), again:
        pass


def test_a_folder_that_may_not_be_written_is_nobody_elses(tmp_path, monkeypatch):
    """On Windows filelock waits for the right to make the file, as if another process had it."""

    def waited(*_args, **_how):
        raise filelock.Timeout(str(tmp_path / "lock"))

    def forbidden(_folder):
        raise PermissionError(13, "Access is denied")

    monkeypatch.setattr(filelock.FileLock, "acquire", waited)
    monkeypatch.setattr(held_module, "check_takes_files", forbidden)
    with pytest.raises(PermissionError), held(tmp_path / "lock", wait=False):
        pass
