"""What stops a run, and what is left of it then."""

import signal

import pytest
import torch

from animatediff_ext.trainer import run as run_module
from animatediff_ext.trainer.data import ClipDataset
from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.run import train
from animatediff_ext.trainer.state import load_state, states_folder, states_in
from tests.trainer.signals import sent_at_step


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["a scheduler", "a closed terminal"])
def test_a_signal_saves_a_state_and_exits_cleanly(number, runs):
    output = runs.folder / "run"
    words = ["motion", *runs.words(run__steps=500, checkpoint__every=2)]
    code, errors = sent_at_step(number, words, output, 2)
    assert code == 0, errors
    assert f"Stopped by {number.name} after step" in errors
    assert "Traceback" not in errors
    newest = states_in(states_folder(output))[-1]
    assert load_state(newest)["step"] == int(newest.stem.split("-")[1])


def test_a_time_limit_saves_a_state(runs):
    files = train("motion", runs.config("motion", run__steps=10_000, run__minutes=0.0001))
    assert files == []
    assert len(states_in(states_folder(runs.folder / "run"))) == 1


def test_fp16_whose_scale_does_not_help_stops_the_run_as_well(runs, monkeypatch):
    """The scaler would skip every step without a word, and at last take one with a scale of 0."""
    original = run_module.Trainer.loss

    def loss(self, batch):
        self.parameters[0].register_hook(lambda gradient: gradient * float("inf"))
        self.scaler = torch.amp.GradScaler("cpu", init_scale=0.5)
        return original(self, batch)

    monkeypatch.setattr(run_module.Trainer, "loss", loss)
    with pytest.raises(TrainError, match=r"The gradient is (inf|nan) at step 1"):
        train("motion", runs.config("motion", precision__amp="fp16"))


def test_a_gradient_that_is_no_number_stops_the_run_before_the_weights_change(runs, monkeypatch):
    original = run_module.Trainer.loss

    def loss(self, batch):
        value = original(self, batch)
        if self.step == 2:
            self.parameters[0].register_hook(lambda gradient: gradient * float("inf"))
        return value

    monkeypatch.setattr(run_module.Trainer, "loss", loss)
    with pytest.raises(TrainError, match="The gradient is inf at step 3"):
        train("motion", runs.config("motion", checkpoint__every=1))
    trained = load_state(states_in(states_folder(runs.folder / "run"))[-1])["trained"]
    assert all(tensor.isfinite().all() for tensor in trained.values())


def test_nan_stops_the_run_and_leaves_the_last_good_state(runs, monkeypatch):
    original = run_module.Trainer.loss

    def loss(self, batch):
        return original(self, batch) * (float("nan") if self.step == 3 else 1)

    monkeypatch.setattr(run_module.Trainer, "loss", loss)
    with pytest.raises(TrainError, match="The loss is nan at step 4: go on from the last state"):
        train("motion", runs.config("motion", checkpoint__every=2))
    newest = states_in(states_folder(runs.folder / "run"))[-1]
    trained = load_state(newest)["trained"]
    assert newest.name == "step-00000002.state"
    assert all(tensor.isfinite().all() for tensor in trained.values())


def test_a_run_whose_clips_cannot_be_read_any_more_is_saved_first(runs, monkeypatch):
    real = ClipDataset.__getitem__

    def getitem(self, number):
        if number == 2:
            raise TrainError("The disk is gone.")
        return real(self, number)

    monkeypatch.setattr(ClipDataset, "__getitem__", getitem)
    with pytest.raises(TrainError, match=r"^The disk is gone\. The run was saved after step 2, and goes on with"):
        train("motion", runs.config("motion", checkpoint__every=0))
    assert [path.name for path in states_in(states_folder(runs.folder / "run"))] == ["step-00000002.state"]


def test_out_of_memory_says_which_settings_to_lower(runs, monkeypatch):
    def loss(_self, _batch):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(run_module.Trainer, "loss", loss)
    with pytest.raises(TrainError, match=r"gradient_checkpointing.*sample.batch.*adamw8bit.*sample.buckets"):
        train("motion", runs.config("motion"))
