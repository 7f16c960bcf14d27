"""Looking at a run shows what it does, and does not disturb it."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from animatediff_ext.media import probe
from animatediff_ext.standalone import SpatialModel
from animatediff_ext.trainer.run import train
from animatediff_ext.trainer.state import states_folder, states_in
from animatediff_ext.trainer.stop import StopWish
from animatediff_ext.trainer.validation import Validation, _labels
from tests import command_line
from tests.models.spatial import half_of_the_layers, write_folder
from tests.trainer.comparing import assert_same, state_of

WATCHED = {
    "validate__every": 2,
    "validate__prompts": '["a red cat", "a dog"]',
    "validate__steps": 2,
    "validate__cfg": 2,
}


@pytest.fixture(scope="module")
def personalised(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("checkpoints") / "painted", "SD 1.5", **half_of_the_layers())


@pytest.mark.parametrize("stage", ["adapter", "motion", "lora"])
def test_a_watched_run_is_the_same_bit_by_bit(runs, motion_module, personalised, stage):
    options = {
        "adapter": {"sample__buckets": '["64x64x1"]'},
        "motion": {"ema__decay": 0.9, "precision__gradient_checkpointing": "true"},
        "lora": {"motion__init": motion_module, "sample__workers": 2},
    }[stage]
    options |= {"validate__clips": 1, "run__steps": 4}
    random_state = torch.get_rng_state()
    # never, but after its last state: with validate.every at 0, no clips would be held out
    alone = options | {"validate__every": 1000}
    train(stage, runs.config(stage, run__output=runs.folder / "alone", **alone))
    watched = WATCHED | {"validate__checkpoints": f'["{personalised}"]'}
    train(stage, runs.config(stage, run__output=runs.folder / "watched", **options, **watched))
    assert_same(state_of(runs.folder / "alone", 4), state_of(runs.folder / "watched", 4))
    assert torch.equal(torch.get_rng_state(), random_state)


def test_clips_are_made_on_the_base_and_on_personalised_checkpoints(runs, base, personalised):
    options = WATCHED | {"validate__checkpoints": f'["{personalised}"]', "validate__size": "64x128x3"}
    train("motion", runs.config("motion", run__steps=2, **options))
    folder = runs.folder / "run" / "validation" / "step-00000002"
    assert sorted(path.name for path in folder.iterdir()) == [
        "painted-1.gif",
        "painted-2.gif",
        "tiny-1.gif",
        "tiny-2.gif",
    ]
    found = probe(folder / "painted-2.gif")
    assert (found.width, found.height, found.num_frames) == (64, 128, 3)
    assert found.fps == pytest.approx(8, rel=0.02)  # GIF counts in hundredths of a second
    assert found.comment == "a dog"


def test_checkpoints_of_one_name_have_clips_of_their_own(runs, personalised, tmp_path):
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / personalised.name
    other.symlink_to(personalised)
    options = WATCHED | {"validate__checkpoints": f'["{personalised}", "{other}"]', "validate__prompts": '["a cat"]'}
    train("motion", runs.config("motion", run__steps=2, **options))
    folder = runs.folder / "run" / "validation" / "step-00000002"
    assert sorted(path.name for path in folder.iterdir()) == ["painted-1.gif", "painted-2-1.gif", "tiny-1.gif"]


def test_names_of_clips_end_where_none_is_free():
    labels = _labels(SimpleNamespace(title="tiny"), ["a/tiny-2.safetensors", "b/tiny.ckpt", "c/tiny.ckpt"])
    assert list(labels.values()) == ["tiny", "tiny-2", "tiny-3", "tiny-4"]


def test_names_of_clips_differ_in_more_than_capitals():
    labels = _labels(SimpleNamespace(title="tiny"), ["a/Dusk.ckpt", "b/dusk.ckpt"])
    assert list(labels.values()) == ["tiny", "Dusk", "dusk-2"]


def test_a_checkpoint_that_cannot_be_animated_stops_nothing(runs, sdxl_base, capsys):
    options = WATCHED | {"validate__checkpoints": f'["{sdxl_base}"]'}
    files = train("motion", runs.config("motion", run__steps=2, **options))
    assert files
    assert f"No validation clips on {sdxl_base}: The motion module" in capsys.readouterr().err


def test_an_adapter_that_does_not_fit_a_checkpoint_stops_nothing(runs, sdxl_base, capsys):
    options = WATCHED | {"validate__checkpoints": f'["{sdxl_base}"]', "sample__buckets": '["64x64x1"]'}
    assert train("adapter", runs.config("adapter", run__steps=2, **options))
    assert "has other layers than" in capsys.readouterr().err


def test_a_wish_to_stop_breaks_a_clip_off(runs, monkeypatch):
    """The state was saved before; a scheduler does not wait for clips."""
    trainer, material = runs.made("motion", **WATCHED)
    stop = StopWish()
    stop.reason = "SIGTERM"
    assert Validation(trainer, material.held_out, stop).run() == ({}, [])
    assert not list(runs.folder.rglob("*.gif"))


def test_what_is_saved_comes_before_what_is_shown(runs, monkeypatch):
    def dies(_self):
        raise SystemExit

    monkeypatch.setattr(Validation, "run", dies)
    with pytest.raises(SystemExit):
        train("motion", runs.config("motion", checkpoint__every=2, **WATCHED))
    assert len(states_in(states_folder(runs.folder / "run"))) == 1


def test_clips_change_with_training_and_not_with_the_time_of_day(runs):
    options = WATCHED | {"validate__every": 1, "run__steps": 2, "optim__lr": 1e-2}
    for name in "ab":
        train("motion", runs.config("motion", run__output=runs.folder / name, **options))
    clips = {path.relative_to(runs.folder): path.read_bytes() for path in runs.folder.rglob("*.gif")}
    assert len(clips) == 8
    for path, content in clips.items():
        if path.parts[0] == "a":
            assert content == clips["b" / path.relative_to("a")]
    steps = runs.folder / "a" / "validation"
    assert (steps / "step-00000001" / "tiny-1.gif").read_bytes() != (
        steps / "step-00000002" / "tiny-1.gif"
    ).read_bytes()


def test_the_loss_of_held_out_clips_is_at_fixed_timesteps_and_of_all_captions(runs):
    options = {
        "validate__every": 2,
        "validate__clips": 2,
        "validate__timesteps": "[200, 800]",
        "sample__caption_dropout": 1,
        "optim__lr": 0,
    }
    train("motion", runs.config("motion", run__steps=4, **options))
    lines = [json.loads(line) for line in (runs.folder / "run" / "log.jsonl").read_text().splitlines()]
    losses = [line for line in lines if "validation_loss" in line]
    assert [line["step"] for line in losses] == [2, 4]
    first, second = losses
    assert first.keys() == {"step", "validation_loss", "validation_loss/t200", "validation_loss/t800"}
    assert first | {"step": 4} == second  # nothing is learnt at a rate of zero, so nothing changes
    mean = (first["validation_loss/t200"] + first["validation_loss/t800"]) / 2
    assert first["validation_loss"] == pytest.approx(mean)


def test_held_out_clips_are_not_trained_on(runs):
    _, material = runs.made("motion", validate__clips=2, validate__every=1)
    held_out = {take.clip.name for take in material.held_out}
    trained = {take.clip.name for step in range(20) for take in material.plan.takes(step)}
    assert len(held_out) == 2
    assert len(trained) == 3
    assert not held_out & trained


def test_no_clips_are_held_out_for_a_validation_that_never_comes(runs):
    _, material = runs.made("motion", validate__clips=2, validate__every=0)
    assert material.held_out == []
    assert {Path(take.clip.name).name for step in range(5) for take in material.plan.takes(step)} == {
        clip.name for clip in Path(runs.options["data.path"]).glob("*.mp4")
    }


def test_clips_leave_out_as_many_layers_of_the_text_encoder_as_the_run(runs, monkeypatch):
    trainer, material = runs.made("motion", base__clip_skip=2, **WATCHED)
    skipped = []
    original = SpatialModel.encode_text

    def encode_text(self, prompts, clip_skip=1, **how):
        skipped.append(clip_skip)
        return original(self, prompts, clip_skip, **how)

    monkeypatch.setattr(SpatialModel, "encode_text", encode_text)
    assert Validation(trainer, material.held_out, StopWish()).run() == ({}, [])
    assert set(skipped) == {2}


def test_two_processes_share_the_clips(runs, personalised):
    options = WATCHED | {"validate__checkpoints": f'["{personalised}"]', "validate__clips": 2, "run__steps": 2}
    code, _, errors = command_line.run("train", "motion", *runs.words(**options), processes=2)
    assert code == 0, errors
    assert len(list((runs.folder / "run" / "validation").rglob("*.gif"))) == 4
    assert '"validation_loss"' in (runs.folder / "run" / "log.jsonl").read_text()


def test_curves_are_written_for_tensorboard(runs):
    event_file_loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    train("motion", runs.config("motion", run__steps=2, log__every=1, log__tensorboard="true"))
    (file,) = (runs.folder / "run" / "tensorboard").iterdir()
    tags = {value.tag for event in event_file_loader.EventFileLoader(str(file)).Load() for value in event.summary.value}
    assert tags >= {"loss", "learning_rate", "gradient_norm", "clips_per_s", "waiting_for_data", "peak_memory_gib"}
