import errno
import os
import pickle
import time
from dataclasses import replace

import pytest
import torch

from animatediff_ext import whole_file
from animatediff_ext.trainer.data import Bucket, TensorCache, latents_key, text_key
from animatediff_ext.trainer.data.catalogue import Catalogue
from tests.command_line import Command

from .clips import BUCKET, catalogue_of, made_up_plan, write_folder

KEY = "ab" + "0" * 38
MOMENTS = {"mean": torch.randn(4, 4, 8, 8), "logvar": torch.randn(4, 4, 8, 8)}


class TestKeys:
    def test_a_key_goes_stale_with_each_thing_that_it_depends_on(self):
        take = made_up_plan({BUCKET: 1}).takes(0)[0]
        clip, seen = take.clip, take.clip.seen
        changed = {
            "VAE": (take, "other"),
            "width": (replace(take, bucket=Bucket(128, 64, 4)), "vae"),
            "height": (replace(take, bucket=Bucket(64, 128, 4)), "vae"),
            "frames": (replace(take, frames=(1, 3, 5, 8)), "vae"),
            "flip": (replace(take, flip=not take.flip), "vae"),
            "path": (replace(take, clip=replace(clip, path="/other")), "vae"),
            "time": (replace(take, clip=replace(clip, seen=replace(seen, modified_ns=7))), "vae"),
            "size": (replace(take, clip=replace(clip, seen=replace(seen, file_size=7))), "vae"),
            "place in the tar": (replace(take, clip=replace(clip, place=(512, 7))), "vae"),
        }
        keys = {name: latents_key(*facts) for name, facts in changed.items()} | {"none": latents_key(take, "vae")}
        assert len(set(keys.values())) == len(keys)

    def test_a_key_stays_with_what_does_not_matter(self):
        take = made_up_plan({BUCKET: 1}).takes(0)[0]
        again = replace(take, index=99, clip=replace(take.clip, caption="other", repeats=5, name="x"))
        assert latents_key(again, "vae") == latents_key(take, "vae")

    def test_a_touched_file_makes_the_key_stale(self, tmp_path):
        def key() -> str:
            ((clip,),) = catalogue_of(tmp_path).buckets.values()
            return latents_key(replace(made_up_plan({BUCKET: 1}).takes(0)[0], clip=clip), "vae")

        write_folder(tmp_path, 1)
        before = key()
        assert key() == before
        os.utime(tmp_path / "0.mp4", ns=(1, 1))
        assert key() != before

    def test_text_keys_depend_on_caption_encoder_and_layers(self):
        keys = {text_key(*facts) for facts in [("a", "t", 1), ("b", "t", 1), ("a", "u", 1), ("a", "t", 2)]}
        assert len(keys) == 4
        assert text_key("a", "t", 1) in keys


class TestEntries:
    @pytest.mark.parametrize(("dtype", "kept"), [("float16", torch.float16), ("float32", torch.float32)])
    def test_what_is_put_comes_back_in_the_cache_s_format(self, tmp_path, dtype, kept):
        cache = TensorCache(tmp_path, dtype)
        cache.put(KEY, {**MOMENTS, "tokens": torch.arange(5)})
        found = cache.get(KEY)
        assert found["tokens"].tolist() == [0, 1, 2, 3, 4]
        for name, tensor in MOMENTS.items():
            torch.testing.assert_close(found[name], tensor.to(kept), rtol=0, atol=0)

    def test_another_format_is_another_entry(self, tmp_path):
        TensorCache(tmp_path, "float16").put(KEY, MOMENTS)
        assert TensorCache(tmp_path, "float32").get(KEY) is None

    def test_views_and_noncontiguous_tensors_are_stored(self, tmp_path):
        cache = TensorCache(tmp_path, "float32")
        whole = torch.arange(12.0).reshape(3, 4)
        cache.put(KEY, {"a": whole.T, "b": whole[1:]})
        torch.testing.assert_close(cache.get(KEY), {"a": whole.T, "b": whole[1:]})

    def test_files_lie_in_folders_by_the_first_two_digits(self, tmp_path):
        TensorCache(tmp_path, "float16").put(KEY, MOMENTS)
        assert [path.parent.name for path in tmp_path.rglob("*.safetensors")] == ["ab"]

    def test_what_is_not_there_is_none(self, tmp_path):
        assert TensorCache(tmp_path / "gone", "float16").get(KEY) is None

    def test_no_folder_is_a_cache_that_never_has_anything(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        cache = TensorCache("", "float16")
        cache.put(KEY, MOMENTS)
        assert cache.get(KEY) is None
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99])
    def test_a_damaged_entry_is_missing_and_can_be_put_anew(self, tmp_path, part):
        cache = TensorCache(tmp_path, "float16")
        cache.put(KEY, MOMENTS)
        (path,) = tmp_path.rglob("*.safetensors")
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
        assert cache.get(KEY) is None
        cache.put(KEY, MOMENTS)
        assert set(cache.get(KEY)) == {"mean", "logvar"}

    def test_two_processes_may_write_one_entry(self, tmp_path):
        cache, seen = TensorCache(tmp_path, "float32"), 0
        writers = [Command(tmp_path, called=f"{__name__}:put_often") for _ in range(2)]
        with writers[0], writers[1]:
            deadline = time.monotonic() + 60
            while any(writer.is_running() for writer in writers) and time.monotonic() < deadline:
                found = cache.get(KEY)
                if found is not None:
                    assert torch.equal(found["a"], torch.ones(64, 64))
                    seen += 1
            assert [writer.wait(1) for writer in writers] == [0, 0], writers[0].error
        assert seen
        assert len(list(tmp_path.rglob("*"))) == 2  # the folder and the entry, no parts


def put_often(words: list[str]) -> None:
    cache = TensorCache(words[0], "float32")
    for _ in range(100):
        cache.put(KEY, {"a": torch.ones(64, 64)})


class TestTrouble:
    def test_a_full_disk_is_told(self, tmp_path, monkeypatch):
        self.fail_with(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
        cache = TensorCache(tmp_path, "float16")
        given = cache.put(KEY, MOMENTS)
        assert "takes no more (No space left on device)" in cache.problem
        assert list(tmp_path.rglob("*.*")) == []
        torch.testing.assert_close(given["mean"], MOMENTS["mean"].half(), rtol=0, atol=0)  # as one that was kept

    def test_what_is_there_is_still_found_when_nothing_more_can_be_written(self, tmp_path, monkeypatch):
        cache = TensorCache(tmp_path, "float16")
        cache.put(KEY, MOMENTS)
        assert not cache.problem
        with monkeypatch.context() as full:
            self.fail_with(full, OSError(errno.ENOSPC, "No space left on device"))
            cache.put(KEY.replace("ab", "cd"), MOMENTS)
        cache.put(KEY.replace("ab", "ef"), MOMENTS)  # is not tried any more
        assert cache.get(KEY) is not None
        assert len(list(tmp_path.rglob("*.safetensors"))) == 1

    def test_a_folder_that_cannot_be_written_is_told(self, tmp_path):
        (tmp_path / "file").write_text("")
        cache = TensorCache(tmp_path / "file", "float16")
        cache.put(KEY, MOMENTS)
        assert cache.problem.endswith("choose another folder.")

    def test_an_entry_that_another_process_has_open_is_as_good(self, tmp_path, monkeypatch):
        cache = TensorCache(tmp_path, "float16")
        cache.put(KEY, MOMENTS)
        self.fail_with(monkeypatch, PermissionError(errno.EACCES, "Access is denied"))
        cache.put(KEY, MOMENTS)
        assert not cache.problem

    def fail_with(self, monkeypatch, error: OSError) -> None:
        def replace(*_):
            raise error

        monkeypatch.setattr(whole_file.os, "replace", replace)


def test_a_catalogue_is_made_of_what_pickles():
    catalogue = made_up_plan({BUCKET: 3}).catalogue
    assert isinstance(catalogue, Catalogue)
    assert pickle.loads(pickle.dumps(catalogue)) == catalogue
