"""Writing motion modules."""

import errno
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from safetensors import SafetensorError, safe_open

from animatediff_ext.formats import load_motion_module, save_motion_module, tensors
from animatediff_ext.motion import FAMILIES, NoiseSchedule
from tests.formats.building import assert_equal, toy, weights
from tests.models.motion import motion_config, random_motion


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_saved_model_comes_back_exactly(family, dtype, tmp_path):
    model = deepcopy(toy(family)).to(dtype)
    save_motion_module(model, tmp_path / "mm.safetensors", dtype=dtype)
    loaded = load_motion_module(tmp_path / "mm.safetensors")
    assert loaded.config == model.config
    assert_equal(loaded.state_dict(), model.state_dict())
    x = torch.randn(8, 32, 3, 3, dtype=dtype)
    site = "up_blocks.2.motion_modules.1" if model.config.family.base == "SDXL" else "up_blocks.3.motion_modules.1"
    torch.testing.assert_close(loaded.at(site)(x, 4), model.at(site)(x, 4))


def test_what_the_system_says_while_writing_is_an_error_of_the_system(tmp_path, monkeypatch):
    def full(*_tensors, **_how):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(tensors, "save_file", full)
    with pytest.raises(OSError, match="No space left") as caught:
        save_motion_module(toy("v2"), tmp_path / "mm.safetensors")
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_saving_twice_gives_the_same_tensors(tmp_path):
    save_motion_module(toy("v2"), tmp_path / "one.safetensors")
    save_motion_module(load_motion_module(tmp_path / "one.safetensors"), tmp_path / "two.safetensors")
    one, two = (load_motion_module(tmp_path / f"{n}.safetensors").state_dict() for n in ("one", "two"))
    assert_equal(one, two)


def test_a_saved_file_has_official_names_half_precision_and_metadata(tmp_path):
    model = toy("lightning")
    save_motion_module(model, tmp_path / "mm.safetensors", metadata={"title": "a walk", "animatediff_family": "v1"})
    with safe_open(tmp_path / "mm.safetensors", framework="pt") as file:
        assert set(file.keys()) == set(model.state_dict())
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F16"}  # noqa: SIM118
        metadata = file.metadata()
    assert metadata["title"] == "a walk"
    assert metadata["animatediff_family"] == "lightning"
    assert '"linear"' in metadata["animatediff_noise_schedule"]
    assert all(".temporal_transformer." in name for name in model.state_dict())


def test_what_tensors_cannot_tell_comes_back(tmp_path):
    schedule = NoiseSchedule(kind="scaled_linear", beta_start=0.001, beta_end=0.02, num_timesteps=500)
    config = motion_config("animatelcm", num_positions=24)
    config = replace(config, family=replace(config.family, schedule=schedule), num_heads=4, num_groups=16)
    save_motion_module(random_motion(config), tmp_path / "mm.safetensors")
    assert load_motion_module(tmp_path / "mm.safetensors").config == config


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    path = tmp_path / "mm.safetensors"
    save_motion_module(toy("v1"), path)
    before = path.read_bytes()

    def fail(state, part, metadata):
        with open(part, "wb") as stream:
            stream.write(b"half a file")
        raise OSError("No space left on device")

    monkeypatch.setattr("animatediff_ext.formats.tensors.save_file", fail)
    with pytest.raises(OSError, match="No space"):
        save_motion_module(toy("v2"), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["mm.safetensors"]


def test_a_file_can_take_its_own_place(tmp_path):
    path = tmp_path / "mm.safetensors"
    save_motion_module(toy("v1"), path)
    loaded = load_motion_module(path)
    save_motion_module(loaded, path)
    assert_equal(load_motion_module(path).state_dict(), loaded.state_dict())


def test_saving_leaves_the_model_as_it_was(tmp_path):
    model = toy("v1")
    before = weights(model)
    save_motion_module(model, tmp_path / "new folder" / "mm.safetensors")
    assert_equal(model.state_dict(), before)
    assert next(model.parameters()).dtype == torch.float32
