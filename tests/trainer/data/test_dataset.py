import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
import torch

from animatediff_ext.trainer.data import (
    ClipDataset,
    Example,
    Plan,
    TensorCache,
    batches,
    dataset,
    latents_key,
    pixels_of,
)
from animatediff_ext.trainer.error import TrainError
from tests.command_line import run_within
from tests.media.numbered import numbers_in

from .clips import catalogue_of, plan_of, write_folder

ROOT = Path(__file__).parents[3]
NO_CACHE = TensorCache("", "float16")


def dataset_of(plan, cache=NO_CACHE, *, rank=0, world=1, batch=2, accumulate=1) -> ClipDataset:
    return ClipDataset(plan, cache, rank=rank, world=world, batch=batch, accumulate=accumulate, vae_fingerprint="vae")


def assert_same(left: list[list[Example]], right: list[list[Example]]) -> None:
    assert [len(examples) for examples in left] == [len(examples) for examples in right]
    for one, other in zip(chain(*left), chain(*right), strict=True):
        assert replace(one, pixels=None, latents=None) == replace(other, pixels=None, latents=None)
        assert (one.pixels is None) == (other.pixels is None)
        if one.pixels is not None:
            assert torch.equal(one.pixels, other.pixels)
        if one.latents is not None:
            torch.testing.assert_close(one.latents, other.latents, rtol=0, atol=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "clips", 5)


@pytest.fixture
def with_bad_clips(tmp_path):
    """Five clips, two of which break after they have been looked at."""
    write_folder(tmp_path, 5)
    plan = plan_of(tmp_path)
    for name in ("1.mp4", "3.mp4"):
        (tmp_path / name).write_bytes(b"broken since")
    return plan


class TestExamples:
    def test_an_example_is_its_take_s_pixels_and_caption(self, folder):
        plan = plan_of(folder)
        for number in range(4):
            examples = dataset_of(plan)[number]
            assert [example.take for example in examples] == plan.takes(number)
            for example in examples:
                assert example.caption == f"clip {Path(example.take.clip.name).stem}"
                assert torch.equal(example.pixels, pixels_of(example.take))
                assert (example.latents, example.bad) == (None, ())

    def test_two_processes_one_large_batch_and_accumulation_read_the_same(self, folder):
        plan = plan_of(folder, global_batch=2)
        for step in range(3):
            whole = [dataset_of(plan)[step]]
            shared = [dataset_of(plan, rank=rank, world=2, batch=1)[step] for rank in (0, 1)]
            accumulated = [dataset_of(plan, batch=1, accumulate=2)[2 * step + micro] for micro in (0, 1)]
            assert_same([list(chain(*shared))], whole)
            assert_same([list(chain(*accumulated))], whole)

    def test_cached_latents_come_in_place_of_pixels(self, folder, tmp_path):
        plan, cache = plan_of(folder), TensorCache(tmp_path, "float32")
        takes = plan.takes(0)
        latents = {"mean": torch.randn(4, 4, 8, 8)}
        cache.put(latents_key(takes[0], "vae"), latents)
        cache.put(latents_key(takes[1], "another vae"), latents)
        cached, read = dataset_of(plan, cache)[0]
        torch.testing.assert_close(cached.latents, latents)
        assert cached.pixels is None
        assert read.latents is None
        assert read.pixels is not None


class TestBadClips:
    def test_a_clip_that_cannot_be_read_is_replaced_and_named(self, with_bad_clips):
        data = dataset_of(with_bad_clips)
        named = set()
        for number in range(6):
            planned = with_bad_clips.takes(number)
            for take, example in zip(planned, data[number], strict=True):
                assert Path(example.take.clip.path).name not in ("1.mp4", "3.mp4")
                assert numbers_in(
                    (example.pixels.flip(-1) if example.take.flip else example.pixels).permute(0, 2, 3, 1).numpy()
                )
                assert example.take.index == take.index
                assert bool(example.bad) == (Path(take.clip.path).name in ("1.mp4", "3.mp4"))
                named |= {Path(name).name for name, _ in example.bad}
                assert all(complaint.startswith("is no video that can be read") for _, complaint in example.bad)
        assert named == {"1.mp4", "3.mp4"}

    def test_it_is_not_tried_again_but_named_again(self, with_bad_clips, monkeypatch):
        tried = []
        real = dataset.pixels_of
        monkeypatch.setattr(dataset, "pixels_of", lambda take: tried.append(Path(take.clip.path).name) or real(take))
        data = dataset_of(with_bad_clips)
        first = [data[number] for number in range(9)]
        assert_same([data[number] for number in range(9)], first)
        assert (tried.count("1.mp4"), tried.count("3.mp4")) == (1, 1)

    def test_when_no_clip_is_left_the_run_stops(self, tmp_path):
        write_folder(tmp_path, 2)
        plan = plan_of(tmp_path)
        for name in ("0.mp4", "1.mp4"):
            (tmp_path / name).unlink()
        with pytest.raises(TrainError, match="None of the 2 clips of bucket 64x64x4 can be read any more"):
            dataset_of(plan)[0]
        with pytest.raises(TrainError, match="None of the 2 clips"):
            list(batches(dataset_of(plan), 0, 2, workers=1))

    def test_after_many_bad_clips_in_a_row_the_run_stops(self, with_bad_clips, monkeypatch):
        monkeypatch.setattr(dataset, "MAX_REPLACEMENTS", 1)
        with pytest.raises(TrainError, match="1 clips in a row cannot be read, the first of which is"):
            list(batches(dataset_of(with_bad_clips), 0, 9, workers=0))


class TestWorkers:
    def test_the_number_of_workers_does_not_matter(self, with_bad_clips):
        data = dataset_of(with_bad_clips, batch=1, accumulate=2)
        alone = list(batches(data, 0, 9, workers=0))
        assert len(alone) == 9
        assert_same(list(batches(data, 0, 9, workers=2)), alone)

    def test_a_run_that_goes_on_reads_what_it_would_have_read(self, folder):
        data = dataset_of(plan_of(folder))
        straight = list(batches(data, 0, 8, workers=0))
        assert_same(list(batches(dataset_of(plan_of(folder)), 3, 8, workers=2)), straight[3:])

    def test_no_random_number_is_used_up(self, folder):
        torch.manual_seed(5)
        before = torch.get_rng_state()
        for workers in (0, 1):
            list(batches(dataset_of(plan_of(folder)), 0, 2, workers))
        assert torch.equal(torch.get_rng_state(), before)

    def test_a_dataset_can_be_sent_to_a_worker_that_inherits_nothing(self, folder):
        data = dataset_of(plan_of(folder))
        assert_same([pickle.loads(pickle.dumps(data))[1]], [data[1]])

    def test_stopping_early_leaves_no_worker(self, folder):
        others = multiprocessing.active_children()
        reading = batches(dataset_of(plan_of(folder)), 0, 1000, workers=2)
        next(reading)
        assert len(multiprocessing.active_children()) == len(others) + 2
        reading.close()
        assert set(multiprocessing.active_children()) <= set(others)

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a tensor from a worker is no open file")
    def test_a_batch_from_a_worker_takes_a_file_for_each_kind_of_tensor_not_for_each_clip(self, folder, tmp_path):
        plan, cache = plan_of(folder, global_batch=16), TensorCache(tmp_path, "float32")
        half = {"mean": torch.randn(4, 4, 8, 8), "std": torch.randn(4, 4, 8, 8)}
        for take in plan.takes(1)[::2]:
            cache.put(latents_key(take, "vae"), half)
        reading = batches(dataset_of(plan, cache, batch=16), 0, 3, workers=1)
        held = [next(reading)]
        before = len(os.listdir("/proc/self/fd"))
        held += reading
        assert len(os.listdir("/proc/self/fd")) <= before + 2 * 3
        assert_same(held, list(batches(dataset_of(plan, cache, batch=16), 0, 3, workers=0)))

    def test_a_mistake_of_ours_is_not_hidden(self):
        with pytest.raises(ZeroDivisionError):
            list(batches(Wrong(), 0, 4, workers=1))

    @pytest.mark.skipif(os.name != "posix", reason="signals to a group are those of POSIX")
    def test_ctrl_c_is_left_to_the_training_process(self, folder):
        """It goes to the whole group; the one that trains goes on here, and no worker prints a traceback."""
        code = f"""
import os, signal, sys, torch
from pathlib import Path
from tests.trainer.data.clips import plan_of
from tests.trainer.data.test_dataset import dataset_of, batches
signal.signal(signal.SIGINT, lambda *_: print("heard", flush=True))
for number, examples in enumerate(batches(dataset_of(plan_of(Path({str(folder)!r}))), 0, 12, workers=2)):
    if number == 2:
        os.killpg(0, signal.SIGINT)
print(number)
"""
        done = run_within(100, [sys.executable, "-c", code], start_new_session=True)
        assert (done.stdout.split(), done.stderr, done.returncode) == (["heard", "11"], "", 0)

    @pytest.mark.skipif(os.name != "posix", reason="signals to a process are those of POSIX")
    def test_a_worker_that_is_killed_disturbs_nothing_until_its_batch_is_wanted(self, folder):
        """Neither is SIGTERM what the training process has made of it, nor is that one interrupted at what it does."""
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            others = set(multiprocessing.active_children())
            reading = batches(dataset_of(plan_of(folder)), 0, 1000, workers=1)
            next(reading)
            (worker,) = set(multiprocessing.active_children()) - others
            # not by this process, whose SIGTERM is an orderly end to a worker
            subprocess.run(["kill", "-TERM", str(worker.pid)], check=True, timeout=20)
            worker.join(timeout=20)
            assert worker.exitcode is not None  # 0 where PyTorch takes the sender for the parent
            with pytest.raises(TrainError, match=r"A process that reads clips has ended .*sample\.workers"):
                list(reading)
        finally:
            signal.signal(signal.SIGTERM, before)


class Wrong:
    def __getitem__(self, number):
        return 1 / 0


def test_a_fresh_plan_of_the_same_files_is_the_same_plan(folder):
    one, other = (Plan(catalogue_of(folder), plan_of(folder).sample, seed=3, global_batch=2) for _ in range(2))
    assert [one.takes(step) for step in range(6)] == [other.takes(step) for step in range(6)]
