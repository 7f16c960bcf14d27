"""Clips on another device than the CPU: nothing stays behind, and they are what the CPU makes."""

import numpy as np
import pytest
import torch
from PIL import Image

from animatediff_ext.standalone.clip import make_clip
from animatediff_ext.standalone.job import job_of, settled
from animatediff_ext.standalone.models import Models
from animatediff_ext.toy.files import BASE, CHALK, MOTION, SHIPPED, ZOOM
from tests import second_device

LORAS = {"lora": [f"{SHIPPED / CHALK}:0.8", f"{SHIPPED / ZOOM}:1"]}
LONG = {"frames": 6, "batch_size": 4, "overlap": 2}
CASES = {  # each with as much as goes together
    "windows": {
        **LONG,
        "long_clips": "windows",
        "closed_loop": "A",
        "noise_kind": "FreeNoise",
        "motion_loras": f"{SHIPPED / ZOOM} = 0: 0, 5: 1",
        "prompt": "0: a (red:1.2) circle\n5: a blue square moving up",
        "sampler": "Euler a",
    },
    "views": {**LONG, **LORAS, "long_clips": "views", "freeinit_enable": True, "freeinit_iters": 2},
    "little memory": {**LORAS, "low_memory": True, "negative": "a [cross]", "sampler": "DPM++ 2M"},
    "a picture": {"init": "picture.png", "strength": 0.6, "sampler": "LCM", "cfg": 1},
    "an animated picture": {
        "init": "picture.png",
        "latent_power": 1,
        "latent_scale": 32,
        "motion_scale": "0: 0.8, 3: 1.2",
        "motion_effect": "0: 0, 3: 1",
        "sampler": "Euler",
    },
}


@pytest.fixture(scope="module")
def run():
    with second_device.processes() as run:
        yield run


def job(options: dict, device: str, dtype: str = "float32") -> dict:
    paths = {"checkpoint": str(SHIPPED / BASE), "motion_module": str(SHIPPED / MOTION)}
    how = {"prompt": "a red circle moving left", "size": "64x64", "frames": 4, "steps": 2, "cfg": 3.0}
    return {**paths, **how, **options, "device": device, "dtype": dtype}


def frames_of(values: dict) -> np.ndarray:
    return np.stack(list(make_clip(job_of(settled(values)), Models(), digest="").frames))


def mixed(device: str) -> torch.Tensor:
    return torch.ones(2, device=device) + torch.ones(2)


def test_what_a_gpu_would_refuse_is_refused(run):
    assert mixed("cpu").tolist() == [2, 2]
    with pytest.raises(second_device.MixedDevicesError):
        run(mixed, second_device.NAME)


@pytest.mark.parametrize("name", CASES)
def test_a_clip_is_the_same_on_another_device(run, name, tmp_path):
    options = dict(CASES[name])
    if "init" in options:
        options["init"] = str(tmp_path / options["init"])
        Image.new("RGB", (64, 64), (200, 120, 60)).save(options["init"])
    expected = frames_of(job(options, "cpu")).astype(int)
    assert abs(run(frames_of, job(options, second_device.NAME)) - expected).mean() < 0.5


def test_half_precision_on_another_device(run):
    exact = frames_of(job(LORAS, "cpu")).astype(int)
    assert abs(run(frames_of, job(LORAS, second_device.NAME, "float16")) - exact).mean() < 2
