"""What is said of a file without reading it."""

import json

import pytest
import torch

from animatediff_ext.formats import describe, load_motion_module, save_motion_adapter, save_motion_module
from animatediff_ext.motion import FAMILIES
from tests.command_line import python
from tests.formats.building import IMAGE_LAYERS, prefixed, toy, weights, without_tables, write


@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_a_description_has_what_a_page_shows(ending, tmp_path):
    model = toy("v2", per_level=2)
    path = write(tmp_path / f"mm.{ending}", weights(model))
    info = describe(path)
    assert info.path == path
    assert (info.kind, info.family, info.title, info.base) == ("motion-module", "v2", "AnimateDiff v2", "SD 1.5")
    assert (info.modules, info.channels) == ((8, 1, 12), (32, 64, 64, 64))
    assert (info.num_positions, info.positions_from, info.dtype) == (32, "file", "float32")
    assert info.fits == "fits Stable Diffusion 1.5 checkpoints"
    assert info.size_bytes == path.stat().st_size
    assert info.num_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert info.schedule == FAMILIES["v2"].schedule
    assert info.is_motion_module


@pytest.mark.parametrize("family", FAMILIES)
def test_a_description_agrees_with_the_loaded_model(family, tmp_path):
    save_motion_module(toy(family), tmp_path / "mm.safetensors", metadata={"author": "me"})
    info = describe(tmp_path / "mm.safetensors")
    assert info == load_motion_module(tmp_path / "mm.safetensors").info
    assert info.metadata["author"] == "me"
    assert info.sampler_hint == FAMILIES[family].sampler_hint
    assert info.fits.endswith("1.5 checkpoints" if FAMILIES[family].base == "SD 1.5" else "SDXL checkpoints")


def test_only_the_motion_modules_of_a_whole_unet_are_counted(tmp_path):
    alone = describe(write(tmp_path / "alone.ckpt", weights(toy("v1"))))
    whole = describe(
        write(tmp_path / "whole.ckpt", {"state_dict": prefixed("module.", IMAGE_LAYERS | weights(toy("v1")))})
    )
    assert (whole.num_parameters, whole.config) == (alone.num_parameters, alone.config)


def test_the_choice_of_family_is_heeded(tmp_path):
    path = write(tmp_path / "mm.safetensors", weights(toy("v2")))
    assert describe(path, family="lightning").sampler_hint.startswith("sampler Euler")


def test_a_table_by_formula_and_mixed_types_are_said(tmp_path):
    state = without_tables(weights(toy("animatelcm")))
    state = {n: t.half() if "up_blocks" in n else t for n, t in state.items()}
    info = describe(write(tmp_path / "mm.safetensors", state))
    assert (info.num_positions, info.positions_from, info.dtype) == (64, "formula", "float16 + float32")


def test_a_folder_is_described_by_its_weights(tmp_path):
    save_motion_adapter(toy("v3"), tmp_path)
    assert describe(tmp_path).path == tmp_path / "diffusion_pytorch_model.safetensors"
    assert describe(tmp_path).family == "v3"


def test_a_summary_is_json(tmp_path):
    info = describe(write(tmp_path / "mm.safetensors", weights(toy("v1", per_level=2))))
    summary = json.loads(json.dumps(info.summary()))
    assert summary["schedule"] == {"kind": "linear", "beta_start": 0.00085, "beta_end": 0.012, "num_timesteps": 1000}
    assert summary["modules"] == {"down": 8, "mid": 0, "up": 12}


def test_describing_reads_the_header_alone(tmp_path):
    """A process that read the 160 MB beside the modules would need memory for them."""
    state = weights(toy("v1")) | {"ballast": torch.zeros(40_000_000)}
    paths = [write(tmp_path / f"mm.{ending}", state) for ending in ("safetensors", "ckpt")]
    code = (
        "import sys, resource; from animatediff_ext.formats import describe\n"
        "memory = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = memory(); [describe(path) for path in sys.argv[1:]]; print(memory() - before)"
    )
    grown = python("-c", code, *paths)
    assert int(grown.stdout) < 100_000  # kB
    for path in paths:
        path.unlink()


def test_importing_formats_brings_no_host_and_no_diffusers():
    hosts = ("diffusers", "transformers", "gradio", "modules")
    code = f"import sys, animatediff_ext.formats; print([name for name in {hosts} if name in sys.modules])"
    assert python("-c", code).stdout == "[]\n"
