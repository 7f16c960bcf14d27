"""Where ``generate`` computes, and in which number format."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from animatediff_ext.media import read_frames
from animatediff_ext.setting import SettingsError
from animatediff_ext.standalone import clip as clip_module
from animatediff_ext.standalone.devices import device_of, dtype_of, idle_gpu
from tests.standalone.generating import generate


def test_the_device_is_this_process_own(monkeypatch):
    assert device_of("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_of("auto", local_rank=1) == torch.device("cuda", 1)
    assert device_of("cuda:0", local_rank=1) == torch.device("cuda", 0)
    with pytest.raises(SettingsError, match=r"has no GPU 2 for torch: it has 2, so start at most as many processes"):
        device_of("auto", local_rank=2)


@pytest.mark.parametrize("name", ["cuda", "mps", "abacus"])
def test_a_device_that_is_not_here_says_so(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(SettingsError, match=r"give (cpu|auto)"):
        device_of(name)


def test_a_gpu_that_torch_was_not_built_for_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    for found, sentence in (("C:/Windows/System32/nvidia-smi.exe", "install the build for the GPU"), (None, "None")):
        monkeypatch.setattr(shutil, "which", lambda _name, found=found: found)
        assert sentence in str(idle_gpu())
    monkeypatch.setattr(shutil, "which", lambda _name: "nvidia-smi")
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert idle_gpu() is None


def test_number_formats_are_half_on_a_gpu_and_whole_on_a_cpu():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert (dtype_of("auto", cpu), dtype_of("auto", gpu)) == (torch.float32, torch.float16)
    assert dtype_of("bfloat16", cpu) == torch.bfloat16


def test_with_little_memory_each_part_is_on_the_device_only_while_it_works(least, tmp_path, monkeypatch, models):
    """The device "meta" would lose the weights, so the moves themselves are watched."""
    moves = []
    original = clip_module.visiting
    monkeypatch.setattr(
        clip_module,
        "visiting",
        lambda device, *parts: moves.append([type(part).__name__ for part in parts]) or original(device, *parts),
    )
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    assert generate(*least, "--low-memory", "--init", tmp_path / "a.png", "--format", "txt") == 0
    assert moves == [["CLIPTextModel"], ["AutoencoderKL"], ["UNet2DConditionModel"], ["AutoencoderKL"]]


def test_with_and_without_low_memory_the_clip_is_the_same(least, tmp_path):
    for name in ("a", "b"):
        assert generate(*least, "--cfg", "3", "--name", name, "--format", "png", *["--low-memory"] * (name == "b")) == 0
    clips = [np.stack(list(read_frames(tmp_path / "out" / name))).astype(int) for name in "ab"]
    assert abs(clips[0] - clips[1]).max() <= 1
