"""What files say of how they were made."""

import re

import pytest

from animatediff_ext.infotext import KEY, OWN_KEY, pairs_in
from animatediff_ext.standalone.infotext import infotext, job_in
from animatediff_ext.standalone.job import job_of
from tests.standalone.test_job import LEAST

DIGESTS = {"model_digest": "0123456789abcdef", "module_digest": "fedcba9876543210", "digest": "0a1b2c3d"}


def text_of(**values):
    job = job_of({**LEAST, **values})
    return infotext(job, job.animation.resolved(), **DIGESTS)


def pasted(text):
    """The entries of the last line, as the WebUI reads them (modules/infotext_utils.py)."""
    pairs = re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', text.splitlines()[-1])
    return {key: value.strip('"') for key, value in pairs}


def test_the_text_is_the_webuis():
    text = text_of(prompt="a red cat, 4k", negative="dog: bad", seed=7, size="64x128", lora=["x/zoom.pt:0.8"])
    assert text.splitlines()[:2] == ["a red cat, 4k <lora:zoom:0.8>", "Negative prompt: dog: bad"]
    expected = {
        "Steps": "25",
        "Sampler": "DDIM",
        "CFG scale": "7.5",
        "Seed": "7",
        "Size": "64x128",
        "Model hash": "0123456789",
        "Model": "base",
        "Job": "0a1b2c3d",
    }
    assert expected.items() <= pasted(text).items()
    assert job_in(text) == "0a1b2c3d"


@pytest.mark.parametrize("sampler", [("DPM++ 2M", "Karras"), ("Euler SGM Uniform", "SGM Uniform"), ("Euler a", None)])
def test_samplers_have_the_webuis_names(sampler):
    found = pasted(text_of(sampler=sampler[0]))
    assert found["Sampler"] == sampler[0].removesuffix(" SGM Uniform")
    assert found.get("Schedule type") == sampler[1]


def test_what_is_not_used_is_not_written():
    found = pasted(text_of())
    assert not {"Denoising strength", "Clip skip", "VAE"} & set(found)
    assert {"Denoising strength": "0.25", "Clip skip": "2", "VAE": "v.pt"}.items() <= pasted(
        text_of(init="a.png", strength=0.25, clip_skip=2, vae="x/v.pt")
    ).items()
    assert "AnimateDiff" not in pasted(text_of(model="", video_length=1))


def test_folders_of_files_are_not_written():
    text = text_of(checkpoint="/home/me/base.ckpt", model="/home/me/mm.pt", vae="/home/me/v.pt", lora="/home/me/l.pt:1")
    assert "/home" not in text
    assert "model: mm.pt" in text


def test_what_is_written_fills_the_webuis_page():
    found = pasted(text_of(fps=12, closed_loop="A", video_length=20, context_schedule="static"))
    pairs = {name: value for key in (KEY, OWN_KEY) for name, value in pairs_in(found[key]).items()}
    expected = {"fps": "12", "closed_loop": "A", "video_length": "20", "context_schedule": "static"}
    assert pairs.items() >= (expected | {"model": "mm.safetensors"}).items()
