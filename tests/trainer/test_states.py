"""States of a run: whole whatever happens while they are written, and few."""

import errno
import json
import os
import signal
from pathlib import Path

import pytest
import torch

from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.run import train
from animatediff_ext.trainer.state import load_state, save_state, set_aside, states_folder, states_in
from tests.trainer.signals import sent_at_step


def test_a_kill_in_the_middle_of_a_save_leaves_the_state_before(tmp_path, monkeypatch):
    """The file is written beside, and gets its name when it is whole."""
    save_state(tmp_path, {"step": 1, "stage": "motion"}, keep=2)

    def dies(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", dies)
    with pytest.raises(KeyboardInterrupt):
        save_state(tmp_path, {"step": 2, "stage": "motion"}, keep=2)
    assert [load_state(path)["step"] for path in states_in(tmp_path)] == [1]


def test_killed_while_it_saves_all_the_time_there_is_always_a_whole_state(runs):
    output = runs.folder / "run"
    words = ["motion", *runs.words(run__steps=500, checkpoint__every=1, checkpoint__keep=1)]
    sent_at_step(signal.SIGKILL, words, output, 3)
    states = states_in(states_folder(output))
    assert states
    assert load_state(states[-1], stage="motion")["step"] >= 3


def test_a_full_disk_is_one_sentence_and_leaves_the_state_before(tmp_path):
    """A limit on the size of files makes the system refuse the write, as a full disk does."""
    resource = pytest.importorskip("resource")
    save_state(tmp_path, {"step": 1, "stage": "motion"}, keep=1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(TrainError, match=r"state of step 2 could not be written.*make room.*step-00000001"):
            save_state(tmp_path, {"step": 2, "stage": "motion", "trained": torch.zeros(1_000_000)}, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.state"]


def test_an_old_state_that_something_reads_ends_no_run(tmp_path, monkeypatch):
    """On Windows what is open cannot be removed."""
    real = Path.unlink

    def unlink(self, missing_ok=False):
        if self.name == "step-00000001.state":
            raise PermissionError(errno.EACCES, "used by another process")
        real(self, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        for step in (1, 2, 3):
            save_state(tmp_path, {"step": step}, keep=1)
        assert [path.name for path in states_in(tmp_path)] == ["step-00000001.state", "step-00000003.state"]
    save_state(tmp_path, {"step": 4}, keep=1)
    assert [path.name for path in states_in(tmp_path)] == ["step-00000004.state"]


def test_only_the_newest_states_stay(runs):
    train("motion", runs.config("motion", run__steps=5, checkpoint__every=1, checkpoint__keep=2))
    assert [path.name for path in states_in(states_folder(runs.folder / "run"))] == [
        "step-00000004.state",
        "step-00000005.state",
    ]


def test_a_state_that_was_just_written_is_never_removed(tmp_path):
    """Also where older history has higher numbers."""
    for step in (2, 4, 6):
        save_state(tmp_path, {"step": step, "stage": "motion"}, keep=3)
    set_aside(tmp_path, 2)
    save_state(tmp_path, {"step": 3, "stage": "motion"}, keep=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-00000003.state",
        "step-00000004.aside",
        "step-00000006.aside",
    ]


def test_going_back_again_keeps_what_was_set_aside_before(tmp_path):
    for content in ("first", "second", "third"):
        save_state(tmp_path, {"step": 4, "stage": "motion", "content": content}, keep=3)
        ((before, after),) = set_aside(tmp_path, 2)
        assert (before.name, load_state(after)["content"]) == ("step-00000004.state", content)
    assert {load_state(path)["content"] for path in tmp_path.iterdir()} == {"first", "second", "third"}
    assert states_in(tmp_path) == []


def test_a_later_state_that_cannot_be_renamed_is_one_sentence(tmp_path, monkeypatch):
    def denied(*_arguments):
        raise PermissionError(errno.EACCES, "Permission denied")

    save_state(tmp_path, {"step": 4, "stage": "motion"}, keep=3)
    monkeypatch.setattr(Path, "rename", denied)
    with pytest.raises(TrainError, match=r"could not be renamed \(Permission denied\): move the states after step 2"):
        set_aside(tmp_path, 2)


def test_going_back_to_an_earlier_state_leaves_the_later_ones_aside(runs, capsys):
    options = {"checkpoint__every": 2, "checkpoint__keep": 3}
    train("motion", runs.config("motion", **options))
    folder = states_folder(runs.folder / "run")
    train("motion", runs.config("motion", run__steps=3, **options), resume=str(states_in(folder)[0]))
    assert [path.stem for path in states_in(folder)] == ["step-00000002", "step-00000003"]
    assert "step-00000006.state is of a later step" in capsys.readouterr().err
    lines = (runs.folder / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [3]


def test_what_a_killed_save_left_behind_is_removed_by_the_next(tmp_path):
    (tmp_path / ".0123.part").write_bytes(b"half a state")
    save_state(tmp_path, {"step": 1, "stage": "motion"}, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.state"]
