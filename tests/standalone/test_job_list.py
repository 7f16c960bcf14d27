"""Many jobs for one ``generate``: what is done stays done, what fails stops no other, processes share."""

import signal
import time
from pathlib import Path

import pytest

from animatediff_ext.media.errors import DiskFullError
from animatediff_ext.setting import SettingsError
from animatediff_ext.standalone import clip as clip_module
from animatediff_ext.standalone import generate as generate_module
from animatediff_ext.standalone.processes import Process, this_process
from tests import command_line
from tests.standalone.generating import files_in, generate, write_jobs


def test_jobs_that_are_done_are_not_made_again(least, tmp_path, calls, capsys):
    jobs = write_jobs(tmp_path, {"prompt": "a"}, {"prompt": "b", "name": "bee"}, {"prompt": "c", "seed": -1})
    assert generate(*least, "--jobs", jobs) == 0
    first = files_in(tmp_path / "out")
    assert len(first) == 6
    assert {"bee.gif", "bee.mp4"} < set(first)
    assert generate(*least, "--jobs", jobs) == 0
    assert len(calls) == 3
    assert files_in(tmp_path / "out") == first
    assert "0 jobs made, 3 were there already, 0 failed." in capsys.readouterr().err


def test_a_job_of_which_a_file_is_missing_is_made_again_and_a_changed_one_has_another_name(least, tmp_path, calls):
    jobs = write_jobs(tmp_path, {"prompt": "a"}, {"prompt": "b"})
    assert generate(*least, "--jobs", jobs) == 0
    before = files_in(tmp_path / "out")
    (tmp_path / "out" / next(name for name in before if name.startswith("00001") and name.endswith("mp4"))).unlink()
    jobs = write_jobs(tmp_path, {"prompt": "a"}, {"prompt": "b, changed"})
    assert generate(*least, "--jobs", jobs) == 0
    assert len(calls) == 4
    after = files_in(tmp_path / "out")
    assert set(before) < set(after)
    assert len(after) == 6


def test_a_name_that_another_job_took_is_not_overwritten(least, tmp_path, calls, capsys):
    assert generate(*least, "--name", "cat", "--prompt", "a", "--format", "gif,png,txt") == 0
    before = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in files_in(tmp_path / "out")}
    for formats in ("gif", "png", "txt"):
        assert generate(*least, "--name", "cat", "--prompt", "b", "--format", formats) == 1
        assert "is there already, and not of this job: give another name" in capsys.readouterr().err
    assert before == {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in files_in(tmp_path / "out")}
    assert generate(*least, "--name", "cat", "--prompt", "a", "--format", "gif,png,txt") == 0
    assert "is there already: give another name, or remove its files" in capsys.readouterr().err
    assert len(calls) == 1


def test_a_job_that_fails_is_reported_with_its_line_and_the_others_go_on(least, tmp_path, capsys):
    bad = [{"clip_skip": 9}, "nonsense", {"init": "missing.png"}, {"checkpoint": "missing.ckpt"}]
    assert generate(*least, "--jobs", write_jobs(tmp_path, *bad, {"prompt": "a", "name": "good"})) == 1
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if "animatediff_ext:" in line]
    assert [line[line.index("animatediff_ext:") + 17 :].split(":")[0] for line in lines[:4]] == [
        f"Line {i}" for i in range(1, 5)
    ]
    assert "1 jobs made, 0 were there already, 4 failed." in lines[4]
    assert files_in(tmp_path / "out") == ["good.gif", "good.mp4"]


@pytest.mark.parametrize("name", ["", "cat"])
def test_a_named_job_of_a_list_overwrites_nothing_that_came_meanwhile(
    name, least, tmp_path, calls, monkeypatch, capsys
):
    first, second = (write_jobs(folder, {"prompt": folder.name, "name": name}) for folder in made(tmp_path, "a", "b"))
    real = clip_module.sample

    def meanwhile(*args, **how):
        monkeypatch.setattr(clip_module, "sample", real)
        assert generate(*least, "--format", "txt", "--jobs", second) == 0
        return real(*args, **how)

    monkeypatch.setattr(clip_module, "sample", meanwhile)
    code = generate(*least, "--format", "txt", "--jobs", first)
    texts = sorted(path.read_text()[0] for path in (tmp_path / "out").glob("*.txt"))
    assert (code, texts) == ((1, ["b"]) if name else (0, ["a", "b"]))


def made(parent, *names):
    folders = [parent / name for name in names]
    for folder in folders:
        folder.mkdir()
    return folders


def test_where_nothing_can_be_written_nothing_is_sampled(least, tmp_path, calls, capsys):
    (tmp_path / "out").write_text("a file")
    assert generate(*least) == 1
    assert "out is to be a folder, but it is a file: choose another one." in capsys.readouterr().err
    (tmp_path / "out").unlink()
    (tmp_path / "out" / "cat").mkdir(parents=True)
    (tmp_path / "out" / "cat" / "notes.txt").write_text("mine")
    jobs = write_jobs(tmp_path, {"name": "cat", "format": "png"})
    assert generate(*least, "--jobs", jobs) == 1
    assert not calls


def test_a_full_disk_ends_a_list(least, tmp_path, calls, monkeypatch, capsys):
    def save(*_, **__):
        raise DiskFullError("The disk is full.")

    monkeypatch.setattr(generate_module, "save_animation", save)
    assert generate(*least, "--jobs", write_jobs(tmp_path, {"prompt": "a"}, {"prompt": "b"}, {"prompt": "c"})) == 1
    err = capsys.readouterr().err
    assert "Line 1: The disk is full." in err
    assert "0 jobs made, 0 were there already, 1 failed, 2 were not begun." in err
    assert len(calls) == 1


def test_warnings_in_a_list_say_whose_they_are(least, tmp_path, calls, capsys):
    jobs = [{"prompt": "0: cat\n9: dog", "name": name} for name in ("a", "b")]
    assert generate(*least, "--format", "txt", "--jobs", write_jobs(tmp_path, *jobs)) == 0
    err = capsys.readouterr().err
    assert "animatediff_ext: a: The key of line" in err
    assert "animatediff_ext: b: The key of line" in err


def test_processes_share_the_jobs(least, tmp_path, calls, monkeypatch):
    jobs = write_jobs(tmp_path, *({"prompt": str(i), "format": "txt"} for i in range(5)))
    for rank, expected in ((0, 3), (1, 2)):
        for name, value in {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": rank}.items():
            monkeypatch.setenv(name, str(value))
        before = len(calls)
        assert generate(*least, "--jobs", jobs) == 0
        assert len(calls) - before == expected
    prompts = sorted((tmp_path / "out" / name).read_text()[0] for name in files_in(tmp_path / "out"))
    assert prompts == ["0", "1", "2", "3", "4"]


def test_under_torchrun_a_job_that_fails_does_not_stop_the_other_process(least, tmp_path):
    jobs = write_jobs(tmp_path, {"init": "missing.png"}, {"name": "second", "steps": 40, "format": "gif"})
    done = command_line.torchrun("generate", *least, "--jobs", jobs, processes=2)
    assert done.returncode == 1
    assert "Line 1: " in done.stderr
    assert files_in(tmp_path / "out") == ["second.gif"]


def test_every_job_is_in_the_share_of_one_process():
    for world in (1, 2, 3, 7):
        shares = [list(Process(rank=rank, world=world).share(range(10))) for rank in range(world)]
        assert sorted(item for share in shares for item in share) == list(range(10))


def test_a_launcher_that_says_nonsense_is_told_so():
    assert this_process({}) == Process()
    for environment in ({"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "x"}):
        with pytest.raises(SettingsError, match="with torchrun"):
            this_process(environment)


def test_a_mistake_of_ours_does_not_end_a_list(least, tmp_path, calls, monkeypatch, capsys):
    real = clip_module.sample

    def sample(*args, **how):
        monkeypatch.setattr(clip_module, "sample", real)
        raise KeyError("ours")

    monkeypatch.setattr(clip_module, "sample", sample)
    assert generate(*least, "--format", "txt", "--jobs", write_jobs(tmp_path, {"name": "a"}, {"name": "b"})) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "Line 1: KeyError: 'ours'. That is a mistake of this program: please report it." in err
    assert files_in(tmp_path / "out") == ["b.txt"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_stop_leaves_what_is_finished_and_nothing_half_written(number, least, tmp_path):
    jobs = write_jobs(tmp_path, {"name": "first", "steps": 1}, {"name": "second", "steps": 900})
    with command_line.Command("generate", *least, "--jobs", jobs) as command:
        deadline = time.monotonic() + 60
        while command.is_running() and command.out.count("\n") < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [Path(line).name for line in command.out.splitlines()] == ["first.gif", "first.mp4"]
        time.sleep(0.5)
        command.send(number)
        assert command.wait(60) == 130
        err = command.error
    assert "Stopped. What was finished is there; the same command goes on from it." in err
    assert "Traceback" not in err
    assert files_in(tmp_path / "out") == ["first.gif", "first.mp4"]
