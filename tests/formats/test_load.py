"""Reading motion modules as other programs write them."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from animatediff_ext.formats import FormatError, load_motion_module
from animatediff_ext.formats.container import TensorFile, open_file
from animatediff_ext.formats.recognise import recognise
from animatediff_ext.motion import MotionModel
from tests.formats.building import (
    CHECKPOINTS,
    OPTIMIZER,
    WRAPPINGS,
    assert_equal,
    prefixed,
    toy,
    weights,
    without_tables,
    write,
)
from tests.models.motion import motion_config, random_motion

MAPS = Path("/proc/self/maps")


def assert_same_model(loaded, model):
    """Equal weights, and equal answers."""
    assert_equal(loaded.state_dict(), model.state_dict())
    for site, channels in list(model.config.sites().items())[::7]:
        x = torch.randn(2 * 3, channels, 2, 2)
        torch.testing.assert_close(loaded.at(site)(x, 3), model.at(site)(x, 3))  # sums depend on where memory begins


@pytest.mark.parametrize(("family", "ending"), [("v2", "safetensors"), ("sdxl-beta", "ckpt")])
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_every_spelling_gives_the_same_model(family, wrapping, ending, tmp_path):
    model = toy(family)
    path = write(tmp_path / f"mm.{ending}", WRAPPINGS[wrapping](weights(model)))
    loaded = load_motion_module(path, family=family)
    assert loaded.config == model.config
    assert_same_model(loaded, model)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrapper", CHECKPOINTS)
def test_checkpoints_of_training_give_their_motion_modules(wrapper, zipped, tmp_path):
    model = toy("v3")
    path = tmp_path / "mm.ckpt"
    torch.save(CHECKPOINTS[wrapper](weights(model)), path, _use_new_zipfile_serialization=zipped)
    assert_same_model(load_motion_module(path), model)


@pytest.mark.parametrize("family", ["v1", "v2", "v3", "animatelcm", "lightning", "sdxl-beta", "hotshot-xl"])
def test_every_family_is_loaded_by_its_own_facts(family, tmp_path):
    model = toy(family)
    loaded = load_motion_module(write(tmp_path / f"{family}.safetensors", weights(model)))
    assert loaded.config == model.config
    assert_same_model(loaded, model)


@pytest.mark.parametrize("family", ["v1", "animatelcm", "hotshot-xl"])
def test_a_missing_table_is_the_formula(family, tmp_path):
    model = toy(family)
    path = write(tmp_path / "mm.safetensors", without_tables(weights(model)))
    loaded = load_motion_module(path, family=family)
    assert loaded.info.positions_from == "formula"
    assert_same_model(loaded, model)


def test_the_content_decides_not_the_ending(tmp_path):
    model = toy("v1")
    for real, named in [("a.safetensors", "b.ckpt"), ("c.ckpt", "d.safetensors"), ("e.pth", "f.bin"), ("g.pt", "h")]:
        shutil.move(write(tmp_path / real, weights(model)), tmp_path / named)
        assert_same_model(load_motion_module(tmp_path / named), model)


def test_sizes_that_no_family_has_are_read_from_the_tensors(tmp_path):
    config = motion_config("v2", widths=(32, 96, 64, 128), per_level=1, num_positions=48)
    model = random_motion(replace(config, num_attentions=1, num_layers=2))
    loaded = load_motion_module(write(tmp_path / "mm.ckpt", weights(model)))
    assert loaded.config == model.config
    assert_same_model(loaded, model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_the_dtype_is_that_of_the_file(dtype, ending, tmp_path):
    state = {name: tensor.to(dtype) for name, tensor in without_tables(weights(toy("v2"))).items()}
    loaded = load_motion_module(write(tmp_path / f"mm.{ending}", state), family="v2")
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {dtype}
    assert loaded.info.dtype == str(dtype).removeprefix("torch.")


def test_a_table_of_another_dtype_is_brought_to_that_of_its_weights(tmp_path):
    state = {n: t if n.endswith(".pe") else t.half() for n, t in weights(toy("v1")).items()}
    loaded = load_motion_module(write(tmp_path / "mm.safetensors", state))
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float16}


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_weights_of_eight_bits_are_computed_with_in_sixteen(dtype, ending, tmp_path):
    state = {n: t if n.endswith(".pe") else t.to(dtype) for n, t in weights(toy("v1")).items()}
    loaded = load_motion_module(write(tmp_path / f"mm.{ending}", state))
    assert_equal(loaded.state_dict(), {name: tensor.half() for name, tensor in state.items()})
    assert loaded.info.dtype == str(dtype).removeprefix("torch.")


@pytest.mark.skipif(not MAPS.exists(), reason="what is mapped is known the way of Linux")
@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_a_file_is_free_once_its_model_is_loaded(ending, inference, tmp_path):
    path = write(tmp_path / f"mm.{ending}", weights(toy("v1")))
    with torch.inference_mode(inference):
        file = open_file(path)
        mapped = file.read(file.layout)
        assert str(path) in MAPS.read_text(), "this test sees what is mapped"
        del file, mapped
        loaded = load_motion_module(path)
    assert str(path) not in MAPS.read_text()
    assert_same_model(loaded, toy("v1"))


def test_a_loaded_model_is_ready_to_run(tmp_path):
    loaded = load_motion_module(write(tmp_path / "mm.ckpt", weights(toy("v1"))))
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert {tensor.device.type for tensor in loaded.state_dict().values()} == {"cpu"}
    assert loaded.info.family == "v1"


def test_loading_leaves_the_random_numbers_alone(tmp_path):
    path = write(tmp_path / "mm.ckpt", weights(toy("v1")))
    before = torch.get_rng_state()
    load_motion_module(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_image_layers_of_a_whole_unet_are_not_read(tmp_path, monkeypatch):
    path = write(tmp_path / "mm.safetensors", WRAPPINGS["a whole video UNet"](weights(toy("v1"))))
    asked = []

    def spy(opened):
        file = open_file(opened)
        read = file.read
        object.__setattr__(file, "read", lambda names: read(asked.extend(names) or asked))
        return file

    monkeypatch.setattr("animatediff_ext.formats.module_file.open_file", spy)
    load_motion_module(path)
    assert asked
    assert all("motion_modules" in name for name in asked)


# ---- what is wrong with a motion module ----


def broken(tmp_path, change):
    state = weights(toy("v2", per_level=2))
    change(state)
    return write(tmp_path / "mm.safetensors", state)


TO_Q = "up_blocks.1.motion_modules.2.temporal_transformer.transformer_blocks.0.attention_blocks.1.to_q.weight"


def test_missing_weights_are_counted_and_named(tmp_path):
    path = broken(tmp_path, lambda state: [state.pop(name) for name in list(state) if name.endswith("to_k.weight")])
    with pytest.raises(FormatError, match=r"42 are missing \(down_blocks.0.*to_k.weight, .* …\)"):
        load_motion_module(path)


def test_weights_of_another_shape_are_named(tmp_path):
    path = broken(tmp_path, lambda state: state.update({TO_Q: torch.zeros(7, 7)}))
    with pytest.raises(FormatError, match=f"1 have a shape that does not fit the others \\({TO_Q}\\)"):
        load_motion_module(path)


def test_weights_of_no_known_use_are_named(tmp_path):
    path = broken(tmp_path, lambda state: state.update({TO_Q.replace("to_q", "to_x"): torch.zeros(1)}))
    with pytest.raises(FormatError, match=r"1 are of no known use .*to_x"):
        load_motion_module(path)


def test_a_missing_module_is_a_gap(tmp_path):
    gone = "down_blocks.1.motion_modules.0."
    path = broken(tmp_path, lambda state: [state.pop(name) for name in list(state) if name.startswith(gone)])
    with pytest.raises(FormatError, match=r"gaps: of down_blocks it has the numbers 1 only"):
        load_motion_module(path)


def test_tables_of_two_lengths_are_refused(tmp_path):
    table = TO_Q.replace("to_q.weight", "pos_encoder.pe")
    path = broken(tmp_path, lambda state: state.update({table: torch.zeros(1, 24, 64)}))
    with pytest.raises(FormatError, match=r"position tables of the shapes .*\(1, 24, 64\)"):
        load_motion_module(path)


def test_some_tables_without_the_others_are_missing_weights(tmp_path):
    table = TO_Q.replace("to_q.weight", "pos_encoder.pe")
    with pytest.raises(FormatError, match=r"1 are missing .*pos_encoder.pe"):
        load_motion_module(broken(tmp_path, lambda state: state.pop(table)))


def test_two_sets_of_modules_in_one_file_are_not_mixed(tmp_path):
    state = weights(toy("v1"))
    path = write(tmp_path / "mm.ckpt", {"unet": state, "ema": state, "optimizer": OPTIMIZER})
    with pytest.raises(FormatError, match=r"2 sets of motion modules, under the names 'unet.', 'ema.'"):
        load_motion_module(path)


def test_channels_that_heads_do_not_divide_are_refused(tmp_path):
    metadata = {"animatediff_num_heads": "24"}
    path = write(tmp_path / "mm.safetensors", weights(toy("v1")), metadata)
    with pytest.raises(FormatError, match=r"32 channels.*24 heads"):
        load_motion_module(path)


@pytest.mark.parametrize("number", ["0", "-8", "eight", "99999"])
def test_impossible_heads_are_refused(number, tmp_path):
    path = write(tmp_path / "mm.safetensors", weights(toy("v1")), {"animatediff_num_heads": number})
    with pytest.raises(FormatError, match="attention heads"):
        load_motion_module(path)


def test_motion_modules_under_names_of_another_program_are_refused(tmp_path):
    state = prefixed("input_blocks.1.", {"motion_modules.0.norm.weight": torch.zeros(32)})
    with pytest.raises(FormatError, match="in a way that is not known here"):
        load_motion_module(write(tmp_path / "mm.ckpt", state))


with torch.device("meta"):
    LAYOUT_OF_V2 = MotionModel(motion_config("v2")).state_dict()


@settings(max_examples=40, deadline=None)
@given(
    dropped=st.sets(st.integers(0, 566), max_size=4),
    reshaped=st.dictionaries(st.integers(0, 566), st.lists(st.integers(0, 40), max_size=4), max_size=3),
)
def test_any_damage_to_the_layout_is_a_sentence_never_a_crash(dropped, reshaped):
    whole = LAYOUT_OF_V2
    state = dict(whole)
    with torch.device("meta"):
        names = list(state)
        for number, shape in reshaped.items():
            state[names[number % len(names)]] = torch.zeros(shape)
    for number in dropped:
        state.pop(names[number % len(names)])
    file = TensorFile(path=Path("mm.ckpt"), layout=state, read=None)
    intact = state.keys() == whole.keys() and all(state[name].shape == whole[name].shape for name in whole)
    if intact:
        recognise(file, None)
    else:
        with pytest.raises(FormatError, match=r"^mm.ckpt "):
            recognise(file, None)
