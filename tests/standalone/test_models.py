"""Models that stay loaded from job to job."""

import os
import shutil

import torch

from animatediff_ext.formats import load_motion_module, save_lora
from animatediff_ext.inject import motion_attention_layers
from animatediff_ext.standalone.models import Models, Recent
from tests.standalone.generating import generate, write_jobs


def test_models_are_loaded_once_for_all_jobs_that_use_them(least, tmp_path, calls, models, monkeypatch):
    loaded = []
    original = Models.__init__.__globals__["load_spatial_model"]
    monkeypatch.setitem(
        Models.__init__.__globals__,
        "load_spatial_model",
        lambda path, **how: loaded.append(path) or original(path, **how),
    )
    other = {"checkpoint": str(models["SD 1.5"][0])}
    jobs = [{}, {"seed": 2}, other, {"seed": 3}, other | {"seed": 4}, {"low_memory": True, "seed": 5}]
    assert generate(*least, "--format", "txt", "--jobs", write_jobs(tmp_path, *jobs)) == 0
    assert len(loaded) == 2
    assert len(calls) == 6


def test_only_the_last_few_are_kept_and_the_oldest_goes_first():
    kept, made = Recent(2), []
    for key in "aabacb":
        kept.get((key,), lambda key=key: made.append(key) or key)
    assert made == ["a", "b", "c", "b"]


def test_a_file_that_was_changed_is_read_again(motion_file, tmp_path):
    path = tmp_path / "mm.safetensors"
    path.write_bytes(motion_file.read_bytes())
    models = Models()
    first = models.motion(str(path))
    assert models.motion(str(path)) is first
    os.utime(path, ns=(1, 1))
    assert models.motion(str(path)) is not first


def test_a_tilde_is_the_home_folder(least, motion_file, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    shutil.copyfile(motion_file, tmp_path / "mm.safetensors")
    layers = motion_attention_layers(load_motion_module(motion_file))
    matrices = {name: (torch.ones(1, layer.num_in), torch.ones(layer.num_out, 1)) for name, layer in layers.items()}
    save_lora(matrices, tmp_path / "zoom.safetensors")
    modules = ["--motion-module", "~/mm.safetensors", "--set", "second_model=~/mm.safetensors"]
    loras = ["--lora", "~/zoom.safetensors:0.5", "--set", "motion_loras=~/zoom.safetensors = 0: 0, 100%: 1"]
    assert generate(*least, *modules, *loras, "--format", "txt") == 0


def test_a_file_whose_name_begins_with_a_tilde_is_that_file(motion_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(motion_file, "~mm.safetensors")
    assert Models().motion("~mm.safetensors").config == Models().motion(str(motion_file)).config
