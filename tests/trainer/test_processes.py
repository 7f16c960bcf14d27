"""Many processes do what one does."""

import json
import os
import socket
import time

import pytest
import torch
from safetensors.torch import load_file

from animatediff_ext.__main__ import main
from animatediff_ext.standalone.processes import Process
from animatediff_ext.trainer import loop, processes
from animatediff_ext.trainer import run as run_module
from animatediff_ext.trainer.data import dataset
from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.state import states_folder, states_in
from tests import command_line
from tests.trainer.drawn import write_clips

# Rounding must stay rounding. Adam divides by gradients, however small they are; and at 64 pixels the lowest level of
# the UNet has one place, where a group norm has two numbers and blows their difference up.
STEADY = {"optim__epsilon": 1e-3, "sample__buckets": '["128x128x2"]'}


def losses_and_weights(runs, name, *, processes=1, launcher=False, **options):
    output = runs.folder / name
    words = runs.words(run__output=output, log__every=1, export__dtype="float32", **options)
    if launcher:
        done = command_line.torchrun("train", "motion", *words, processes=processes)
        code, printed, errors = done.returncode, done.stdout, done.stderr
    else:
        code, printed, errors = command_line.run("train", "motion", *words, processes=processes)
    assert code == 0, errors
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines], load_file(printed.split()[0])


def assert_close(one, other):
    torch.testing.assert_close(torch.tensor(one[0]), torch.tensor(other[0]), rtol=1e-5, atol=1e-6)
    assert one[1].keys() == other[1].keys()
    for name in one[1]:
        torch.testing.assert_close(one[1][name], other[1][name], rtol=1e-5, atol=1e-5)


def test_two_processes_are_one_with_twice_the_batch_or_twice_the_parts(runs):
    """Gradient, norm and update, with caption drop-out, noise and timesteps of each clip."""
    options = STEADY | {"run__steps": 4, "sample__caption_dropout": 0.5}
    two = losses_and_weights(runs, "two", processes=2, launcher=True, **options)
    batch = losses_and_weights(runs, "batch", sample__batch=2, **options)
    parts = losses_and_weights(runs, "parts", sample__accumulate=2, **options)
    assert_close(two, batch)
    assert_close(two, parts)


def test_stopped_and_resumed_in_two_processes_is_the_same_as_straight_through(runs):
    """Their parts of the data, and the running mean, which every process has and one saves."""
    options = STEADY | {"run__steps": 6, "ema__decay": 0.9, "checkpoint__every": 3}
    straight = losses_and_weights(runs, "straight", processes=2, **options)
    losses_and_weights(runs, "stopped", processes=2, **options)
    states_in(states_folder(runs.folder / "stopped"))[-1].unlink()
    (exported,) = (runs.folder / "stopped").glob("*.safetensors")
    exported.unlink()
    words = runs.words(run__output=runs.folder / "stopped", log__every=1, export__dtype="float32", **options)
    code, printed, errors = command_line.run("train", "motion", "--resume", "auto", *words, processes=2)
    assert code == 0, errors
    assert "step 3" in errors
    for name, tensor in load_file(printed.split()[0]).items():
        torch.testing.assert_close(tensor, straight[1][name], rtol=1e-5, atol=1e-6)


def test_gradients_are_exchanged_once_for_all_accumulated_parts(runs):
    """Three parts: the first and the middle one must not be exchanged, and must count."""
    options = STEADY | {"run__steps": 3}
    two = losses_and_weights(runs, "two", processes=2, sample__accumulate=3, **options)
    one = losses_and_weights(runs, "one", sample__accumulate=6, **options)
    assert_close(two, one)


def rotten(runs, folder, numbers):
    """Clips that were whole when they were looked at, and are not when they are read."""
    runs.made("motion", data__path=folder)  # leaves an index of what it has seen
    for number in numbers:
        path = folder / f"clip{number}.mp4"
        facts = path.stat()
        path.write_bytes(bytes(facts.st_size))
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_a_clip_that_one_process_cannot_read_does_not_part_them(runs, tmp_path):
    """All go on with as many steps, and it is named once."""
    folder = write_clips(tmp_path / "some", 4)
    rotten(runs, folder, [2])
    words = runs.words(data__path=folder, run__steps=8, sample__max_bad=1, log__every=1)
    code, _, errors = command_line.run("train", "motion", *words, processes=2)
    assert code == 0, errors
    assert errors.count("stands in for") == 1
    assert "some/clip2.mp4" in errors
    assert len((runs.folder / "run" / "log.jsonl").read_text().splitlines()) == 8


def test_too_many_bad_clips_stop_all_processes_with_a_list(runs, tmp_path):
    folder = write_clips(tmp_path / "some", 4)
    rotten(runs, folder, [1, 2])
    words = runs.words(data__path=folder, run__steps=20, sample__max_bad=1)
    code, _, errors = command_line.run("train", "motion", *words, processes=2)
    assert code != 0
    assert "2 clips cannot be read, and sample.max_bad is 1: some/clip" in errors


def test_what_only_one_process_knows_is_said_too(runs, tmp_path):
    """The checkpoint that cannot be animated falls to the second process."""
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no model")
    options = {"validate__every": 2, "validate__prompts": '["a cat"]', "validate__steps": 1, "run__steps": 2}
    words = runs.words(validate__checkpoints=f'["{broken}"]', **options)
    code, _, errors = command_line.run("train", "motion", *words, processes=2)
    assert code == 0, errors
    assert errors.count(f"No validation clips on {broken}") == 1


@pytest.mark.parametrize("kind", ["missing checkpoint", "no clips"])
def test_a_mistake_is_said_once_by_all_processes_together(runs, tmp_path, kind):
    wrong = {"base__checkpoint": tmp_path / "no"} if kind == "missing checkpoint" else {"data__path": tmp_path / "no"}
    code, _, errors = command_line.run("train", "motion", *runs.words(**wrong), processes=2)
    assert code != 0
    assert errors.count("animatediff_ext: ") == 1


def test_where_one_process_cannot_build_its_models_all_end_with_what_it_says(runs):
    """The others must not be where they compare models with it already."""
    with command_line.Command("train", "motion", *runs.words(), processes=2, called=f"{__name__}:without_base") as both:
        assert both.wait(100) == 1
        assert both.error.count("animatediff_ext: ") == 1
        assert "There is no base on this machine." in both.error


def without_base(words: list[str]) -> int:
    """The command, but for the base model, which the second process does not find."""

    def load_base(*_arguments):
        raise TrainError("There is no base on this machine.")

    if os.environ["RANK"] == "1":
        run_module.load_base = load_base
    return main(words)


def test_what_stops_the_reading_in_one_process_stops_all_after_a_save(runs):
    words = runs.words(run__steps=4)
    with command_line.Command("train", "motion", *words, processes=2, called=f"{__name__}:without_clips") as both:
        assert both.wait(100) == 1
        assert both.error.count("animatediff_ext: ") == 1
        assert "The disk is gone. The run was saved after step 1, and" in both.error
    assert [path.name for path in states_in(states_folder(runs.folder / "run"))] == ["step-00000001.state"]


def without_clips(words: list[str]) -> int:
    """The command, but for the clips, which the second process cannot read any more after a step."""
    real = dataset.ClipDataset.__getitem__

    def getitem(self, number):
        if number:
            raise TrainError("The disk is gone.")
        return real(self, number)

    if os.environ["RANK"] == "1":
        dataset.ClipDataset.__getitem__ = getitem
    return main(words)


@pytest.fixture
def parted(monkeypatch):
    """This process as the second of two under NCCL, and a list that grows when it parts with the other."""
    calls = []
    monkeypatch.setattr(processes, "this_process", lambda: Process(rank=1, world=2))
    monkeypatch.setattr(processes, "own_device", lambda _rank: torch.device("cpu"))
    monkeypatch.setattr(processes, "_join", lambda _device: None)
    monkeypatch.setattr(processes.dist, "get_backend", lambda: "nccl")
    monkeypatch.setattr(processes.dist, "destroy_process_group", lambda: calls.append("parted"))
    return calls


@pytest.mark.parametrize("error", [TrainError("of this process"), ValueError(), KeyboardInterrupt()])
def test_under_nccl_a_process_with_an_error_of_its_own_does_not_wait_for_the_others(parted, error):
    with pytest.raises(type(error)), processes.processes():
        raise error
    assert parted == []


def raised_by_all(wrapped: bool) -> None:
    with processes.processes() as group:
        try:
            raise group.said_once(ValueError())
        except processes.SaidByMainError as error:
            if not wrapped:
                raise
            raise TrainError("in other words") from error


@pytest.mark.parametrize("wrapped", [False, True])
def test_under_nccl_processes_with_an_error_of_all_part(parted, wrapped):
    with pytest.raises((processes.SaidByMainError, TrainError)):
        raised_by_all(wrapped)
    assert parted == ["parted"]


def test_processes_part_at_a_normal_end(parted):
    with processes.processes():
        pass
    assert parted == ["parted"]


@pytest.mark.parametrize(
    ("raised", "status", "words"),
    [
        (TrainError("The disk is gone."), 1, "animatediff_ext: process 1: The disk is gone."),
        (ValueError("a mistake of ours"), 1, "ValueError: a mistake of ours"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_a_process_that_is_still_joined_says_why_and_ends(monkeypatch, capsys, raised, status, words):
    class Ended(BaseException):
        pass

    def ends(number):
        assert words in capsys.readouterr().err
        raise Ended(number)

    def train(*_arguments, **_options):
        raise raised

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(run_module, "train", train)
    monkeypatch.setattr(processes.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(processes.os, "_exit", ends)
    with pytest.raises(Ended, match=str(status)):
        main(["train", "motion"])


def test_where_one_process_fails_alone_under_nccl_it_ends_with_what_it_says(runs):
    """Gloo stands in for NCCL, with a parting that never ends."""
    with command_line.Command("train", "motion", *runs.words(), processes=2, called=f"{__name__}:alone") as both:
        assert both.wait(100) == 1
        assert "animatediff_ext: process 1: It is too hot here." in both.error


def alone(words: list[str]) -> int:
    """The command, but for the second process, which has an error that the first one does not know of."""

    def too_hot():
        raise TrainError("It is too hot here.")

    if os.environ["RANK"] == "1":
        processes.dist.get_backend = lambda *_: "nccl"
        processes.dist.destroy_process_group = lambda: time.sleep(1000)
        run_module.stop_on_signals = too_hot
    return main(words)


def test_a_gpu_without_nccl_is_gone_round_by_gloo(monkeypatch):
    """As on Windows."""
    for has_nccl, backend in ((True, "nccl"), (False, "gloo")):
        monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda has_nccl=has_nccl: has_nccl)
        assert processes._backend(torch.device("cuda")) == backend
        assert processes._backend(torch.device("cpu")) == "gloo"


def test_a_taken_port_is_said_in_a_sentence(runs):
    """Started as other launchers than torchrun do, with the port in the environment."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "RANK": "0"}
        code, _, errors = command_line.run("train", "motion", *runs.words(), variables=where)
    assert code == 1
    assert f"Port {port} is taken" in errors
    assert "Traceback" not in errors


def with_forward_sync_buffers(denoiser, device_ids=None, gradient_as_bucket_view=False, forward_sync_buffers=None):
    return forward_sync_buffers


def with_broadcast_buffers(denoiser, device_ids=None, gradient_as_bucket_view=False, broadcast_buffers=True):
    return broadcast_buffers


@pytest.mark.parametrize("of_torch", [with_forward_sync_buffers, with_broadcast_buffers])
def test_no_torch_sends_tables_of_positions_at_each_step(of_torch, monkeypatch):
    """The option has another name since torch 2.13."""
    monkeypatch.setattr(loop, "DistributedDataParallel", of_torch)
    assert loop._distributed(None, processes.Processes(world=2)) is False
