"""A run that was stopped goes on as if it had never been."""

import importlib.util
import json
import shutil
import signal
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from animatediff_ext.formats import load_motion_module
from animatediff_ext.held import LOCK, held
from animatediff_ext.inject import injected
from animatediff_ext.standalone import load_spatial_model
from animatediff_ext.trainer import run as run_module
from animatediff_ext.trainer.config_file import flat_values
from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.export_state import export_state
from animatediff_ext.trainer.run import _differences, train
from animatediff_ext.trainer.state import CLIPS, PROCESSES, load_state, states_folder, states_in
from tests import command_line
from tests.models.golden import relative_error
from tests.trainer.comparing import assert_same, prediction, state_of
from tests.trainer.signals import sent_at_step

STAGES = {
    "adapter": {"sample__buckets": '["64x64x1"]', "sample__batch": 2},
    "motion": {"ema__decay": 0.99, "sample__accumulate": 2, "optim__schedule": "cosine", "optim__warmup": 2},
    "lora": {"lora__debiased": "true", "sample__workers": 2},
}


@pytest.mark.parametrize("stage", STAGES)
def test_stopped_and_resumed_is_the_same_as_straight_through(runs, motion_module, stage):
    """Weights, optimizer, running mean, scaler, order of the data; in the middle of a pass over it."""
    options = STAGES[stage] | ({"motion__init": motion_module} if stage == "lora" else {})
    config = runs.config(stage, run__output=runs.folder / "straight", **options)
    straight = train(stage, config)

    stopped = runs.folder / "stopped"
    train(stage, runs.config(stage, run__output=stopped, checkpoint__every=3, **options))  # leaves states 3 and 6
    states_in(states_folder(stopped))[-1].unlink()
    for file in stopped.glob("*.safetensors"):
        file.unlink()
    resumed = train(stage, runs.config(stage, run__output=stopped, **options), resume="auto")

    assert_same(state_of(runs.folder / "straight", 6), state_of(stopped, 6))
    for one, other in zip(straight, resumed, strict=True):
        assert_same(load_file(one), load_file(other))


def test_the_scaler_of_fp16_is_resumed(runs):
    options = {"precision__amp": "fp16", "run__steps": 4}
    train("motion", runs.config("motion", run__output=runs.folder / "a", checkpoint__every=2, **options))
    first = states_in(states_folder(runs.folder / "a"))[0]
    train("motion", runs.config("motion", run__output=runs.folder / "b", **options), resume=str(first))
    one, other = (state_of(runs.folder / name, 4) for name in "ab")
    assert_same(one, other)
    assert one["scaler"]["scale"] > 0


def test_with_the_cache_filled_before_or_during_the_run_it_is_the_same(runs):
    """Entries are rounded when they are written; a run that finds them must not differ from the one that made them."""
    options = {"cache__folder": runs.folder / "cache", "sample__starts": 2, "run__steps": 4}
    for name in ("filling", "reading"):
        train("motion", runs.config("motion", run__output=runs.folder / name, **options))
    assert_same(state_of(runs.folder / "filling", 4), state_of(runs.folder / "reading", 4))


@pytest.mark.parametrize("stage", STAGES)
def test_killed_half_way_it_resumes_to_the_same_file(runs, motion_module, stage):
    """One command each: a run of its own, killed by SIGKILL, and gone on with."""
    options = STAGES[stage] | ({"motion__init": motion_module} if stage == "lora" else {})
    options |= {"run__steps": 8, "checkpoint__every": 2}
    straight = train(stage, runs.config(stage, run__output=runs.folder / "straight", **options))

    output = runs.folder / "killed"
    words = [stage, *runs.words(run__output=output, **options)]
    assert sent_at_step(signal.SIGKILL, words, output, 4)[0] == -signal.SIGKILL
    assert not list(output.glob("*.safetensors"))
    code, printed, errors = command_line.run("train", *words, "--resume", "auto")
    assert code == 0, errors
    assert "Going on after step" in errors
    for file, line in zip(straight, printed.split(), strict=True):
        assert_same(load_file(file), load_file(line))


def test_what_was_trained_in_one_command_changes_what_a_unet_predicts(runs, base):
    """From drawn clips to a file that any host loads."""
    (path,) = train("motion", runs.config("motion", optim__lr=1e-2))
    spatial, motion = load_spatial_model(base), load_motion_module(path).float()
    plain = prediction(spatial)
    with injected(spatial.unet, motion, num_frames=3):
        assert relative_error(prediction(spatial), plain) > 0.01
    assert torch.equal(prediction(spatial), plain)


def test_two_runs_of_one_folder_do_not_mix(runs):
    config = runs.config("motion", run__steps=1)
    with held(Path(config.run.output) / LOCK), pytest.raises(TrainError, match="Another run writes to"):
        train("motion", config)
    assert train("motion", config)


def test_a_run_that_goes_on_lets_go_of_the_state_that_it_came_from(runs, monkeypatch):
    train("motion", runs.config("motion", run__steps=2))
    loaded, load, step = [], run_module.load_state, run_module.Trainer.train_step

    def load_state(path, **how):
        state = load(path, **how)
        loaded.extend(weakref.ref(tensor) for tensor in state["trained"].values())
        return state

    def train_step(self, parts):
        assert not any(of_state() is not None for of_state in loaded)
        return step(self, parts)

    monkeypatch.setattr(run_module, "load_state", load_state)
    monkeypatch.setattr(run_module.Trainer, "train_step", train_step)
    assert train("motion", runs.config("motion", run__steps=3), resume="auto")
    assert loaded


def test_a_step_is_saved_before_it_is_reported(runs, monkeypatch):
    def dies(*_arguments, **_options):
        raise SystemExit

    monkeypatch.setattr(run_module.Progress, "step", dies)
    with pytest.raises(SystemExit):
        train("motion", runs.config("motion", checkpoint__every=1))
    assert [path.name for path in states_in(states_folder(runs.folder / "run"))] == ["step-00000001.state"]


@pytest.mark.parametrize("stage", ["motion", "adapter"])
def test_a_run_that_died_after_its_last_step_writes_its_files(runs, monkeypatch, stage):
    options = {"sample__buckets": '["64x64x1"]'} if stage == "adapter" else {}
    config = runs.config(stage, run__steps=1, **options)
    monkeypatch.setattr(run_module, "export", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(stage, config)
    monkeypatch.undo()
    files = train(stage, config, resume="auto")
    assert all(file.exists() for file in files)
    with pytest.raises(TrainError, match="so there is nothing to do"):
        train(stage, config, resume="auto")


def test_a_log_and_a_cache_that_cannot_be_written_are_named_once_and_stop_nothing(runs, capsys, tmp_path):
    output, cache = runs.folder / "run", tmp_path / "cache"
    (output / "log.jsonl").mkdir(parents=True)
    for file in (output / "tensorboard", cache):
        file.write_text("in the way")
    options = {"log__every": 1, "log__tensorboard": "true", "cache__folder": cache, "sample__starts": 2}
    assert train("motion", runs.config("motion", **options))
    said = capsys.readouterr().err
    for text in ("log.jsonl cannot be written", "cache takes no more"):
        assert said.count(text) == 1
    if importlib.util.find_spec("tensorboard"):
        assert said.count("tensorboard cannot be written") == 1


def test_options_of_the_optimizer_may_change_on_the_way(runs):
    trainer = runs.trainer("motion")
    state = trainer.state() | {"config": flat_values(trainer.config)}
    other = runs.trainer("motion", optim__weight_decay=0.5, optim__beta1=0.5, precision__amp="fp16")
    other.restore(state)
    group = other.optimizer.param_groups[0]
    assert (group["weight_decay"], group["betas"]) == (0.5, (0.5, 0.999))
    state["config"]["optim.name"] = "prodigy"
    with pytest.raises(TrainError, match="its optimizer is prodigy"):
        runs.trainer("motion").restore(state)


def test_options_that_changed_are_named_when_a_run_goes_on(runs, capsys):
    train("motion", runs.config("motion", run__steps=2))
    train("motion", runs.config("motion", run__steps=3, optim__lr=1e-5), resume="auto")
    assert "run.steps was 2, optim.lr was 0.0001" in capsys.readouterr().err


def test_other_clips_than_before_are_named_when_a_run_goes_on(runs, clips, capsys):
    copy = Path(shutil.copytree(clips, runs.folder / "elsewhere" / clips.name))
    train("motion", runs.config("motion", run__steps=1))
    train("motion", runs.config("motion", run__steps=2, data__path=copy), resume="auto")
    assert "clips were others" not in capsys.readouterr().err
    next(copy.glob("*.txt")).write_text("another caption")
    train("motion", runs.config("motion", run__steps=3, data__path=copy), resume="auto")
    assert "Not as before: run.steps was 2, the clips were others." in capsys.readouterr().err
    assert export_state(states_in(states_folder(runs.folder / "run"))[-1])


def test_a_state_that_says_nothing_of_its_clips_raises_no_alarm():
    now = {"run.steps": 2, PROCESSES: 1, CLIPS: "a digest"}
    assert _differences(now, {"config": {"run.steps": 2, PROCESSES: 1}}) == ""
    assert "the clips were others" in _differences(now, {"config": now | {CLIPS: "another"}})


@pytest.mark.parametrize(
    ("resume", "words"),
    [
        (None, r"has an earlier run \(step-00000001\.state\): go on with it by --resume auto"),
        ("nowhere.state", "There is no state nowhere.state"),
    ],
)
def test_a_run_is_not_begun_twice_by_mistake(runs, resume, words):
    train("motion", runs.config("motion", run__steps=1))
    with pytest.raises(TrainError, match=words):
        train("motion", runs.config("motion", run__steps=2), resume=resume)


def test_a_state_of_something_else_is_refused_in_a_sentence(runs, motion_module, tmp_path):
    train("motion", runs.config("motion", run__steps=1))
    state = states_in(states_folder(runs.folder / "run"))[0]
    with pytest.raises(TrainError, match="of a run of `train motion`, not of `train adapter`"):
        load_state(state, stage="adapter")
    with pytest.raises(TrainError, match="of another model or optimizer"):
        train("motion", runs.config("motion", motion__family="v2"), resume=str(state))
    with pytest.raises(TrainError, match="is a model, not the state of a run"):
        load_state(motion_module)
    (tmp_path / "cut.state").write_bytes(state.read_bytes()[:-1000])
    with pytest.raises(TrainError, match="no state of a run, or is damaged"):
        load_state(tmp_path / "cut.state")
    torch.save({"format": 99, "stage": "motion"}, tmp_path / "new.state")
    with pytest.raises(TrainError, match="format 99"):
        load_state(tmp_path / "new.state")
    with pytest.raises(TrainError, match="nothing to do"):
        train("motion", runs.config("motion", run__steps=1), resume="auto")


def test_the_log_has_the_figures_of_every_interval(runs):
    train("motion", runs.config("motion", log__every=2))
    lines = [json.loads(line) for line in (runs.folder / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert lines[0].keys() >= {"loss", "learning_rate", "clips_per_s", "waiting_for_data", "peak_memory_gib"}
