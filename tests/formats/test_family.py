"""Which family a file is of: full-size layouts, without their weights."""

import json
from pathlib import Path

import pytest
import torch

from animatediff_ext.formats import FormatError, load_motion_module, save_motion_module, to_diffusers, to_hotshot
from animatediff_ext.formats.container import TensorFile
from animatediff_ext.formats.kind import kind_of
from animatediff_ext.formats.recognise import recognise
from animatediff_ext.motion import FAMILIES, MotionModel
from tests.formats.building import toy, weights, without_tables, write
from tests.models.motion import motion_config

SD15, SDXL = (320, 640, 1280, 1280), (320, 640, 1280)


def full_size(family, **sizes):
    widths = SD15 if FAMILIES[family].base == "SD 1.5" else SDXL
    with torch.device("meta"):
        return MotionModel(motion_config(family, widths=widths, **sizes)).state_dict()


def recognised(layout, name="mm.ckpt", chosen=None, **known):
    return recognise(TensorFile(path=Path(name), layout=layout, read=None, **known), chosen)


def family_of(layout, name="mm.ckpt", chosen=None, **known):
    return recognised(layout, name, chosen, **known).config.family.name


@pytest.mark.parametrize("family", ["v1", "v2", "v3", "sdxl-beta", "hotshot-xl"])
def test_a_family_is_told_by_layout_and_table(family):
    found = recognised(full_size(family))
    assert found.config.family.name == family
    assert found.config.num_positions == FAMILIES[family].num_positions
    assert found.positions_from == "file"


@pytest.mark.parametrize(
    ("family", "modules", "millions", "tables"),
    [
        ("v1", 20, 417.138, 0.845),
        ("v3", 20, 417.138, 1.126),
        ("v2", 21, 453.209, 1.208),
        ("animatelcm", 21, 453.209, 2.417),
        ("sdxl-beta", 15, 236.779, 0.717),
        ("hotshot-xl", 15, 236.779, 0.538),
    ],
)
def test_full_size_modules_have_the_published_number_of_parameters(family, modules, millions, tables):
    state = full_size(family)
    assert len(recognised(state).config.sites()) == modules
    counts = {name: tensor.numel() / 1e6 for name, tensor in state.items()}
    assert sum(counts.values()) - sum(n for name, n in counts.items() if name.endswith(".pe")) == pytest.approx(
        millions, abs=5e-4
    )
    assert sum(n for name, n in counts.items() if name.endswith(".pe")) == pytest.approx(tables, abs=1e-3)


def test_animatelcm_is_told_by_having_no_table():
    found = recognised(without_tables(full_size("animatelcm")))
    assert (found.config.family.name, found.config.num_positions, found.positions_from) == ("animatelcm", 64, "formula")


def test_hotshot_is_told_by_its_names():
    assert family_of(to_hotshot(full_size("hotshot-xl", num_positions=32))) == "hotshot-xl"
    assert family_of(without_tables(to_hotshot(full_size("hotshot-xl")))) == "hotshot-xl"


@pytest.mark.parametrize("length", [16, 48, 64, 128])
def test_a_long_module_of_v2_layout_is_v2_with_its_own_length(length):
    found = recognised(full_size("v2", num_positions=length), "lt_long_mm_64_frames.ckpt")
    assert (found.config.family.name, found.config.num_positions) == ("v2", length)


@pytest.mark.parametrize(
    "name",
    [
        "animatediff_lightning_4step_comfyui.safetensors",
        "AnimateDiff-Lightning-8step.safetensors",
        "AnimateDiff_Lightning/diffusion_pytorch_model.safetensors",
    ],
)
def test_lightning_is_told_by_its_name(name):
    assert family_of(full_size("v2"), name) == "lightning"


def test_a_name_never_overrules_the_layout():
    assert family_of(full_size("v1"), "animatediff_lightning.safetensors") == "v1"
    assert family_of(full_size("sdxl-beta"), "animatelcm.safetensors") == "sdxl-beta"


def test_a_diffusers_file_without_table_is_animatelcm_by_name_only():
    layout = without_tables(to_diffusers(full_size("v2")))
    assert family_of(layout, "v2.safetensors") == "v2"
    assert family_of(layout, "AnimateLCM/diffusion_pytorch_model.safetensors") == "animatelcm"


@pytest.mark.parametrize(("family", "pair"), [("v1", "v1 or v3"), ("hotshot-xl", "hotshot-xl or sdxl-beta")])
def test_what_only_a_table_could_tell_is_asked(family, pair):
    layout = without_tables(full_size(family))
    with pytest.raises(FormatError, match=f"no position table.*{pair}: say which"):
        recognised(layout)
    assert family_of(layout, chosen=family) == family


def test_the_callers_choice_wins_over_metadata_and_name():
    known = {"metadata": {"animatediff_family": "lightning"}}
    assert family_of(full_size("v2"), "x.safetensors", **known) == "lightning"
    assert family_of(full_size("v2"), "animatelcm.safetensors", **known) == "lightning"
    assert family_of(full_size("v2"), "lightning.safetensors", chosen="v2", **known) == "v2"


def test_an_unknown_choice_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"no family 'v4'.*v1, v2, v3, sdxl-beta"):
        recognised(full_size("v2"), chosen="v4")


def test_a_choice_for_the_other_image_model_is_refused():
    with pytest.raises(FormatError, match=r"4 down blocks, as SD 1.5.*for SDXL: choose one of v1, v2, v3"):
        recognised(full_size("v2"), chosen="sdxl-beta")


def test_metadata_of_a_newer_version_are_not_guessed():
    with pytest.raises(FormatError, match=r"family 'v9'.*update the extension"):
        recognised(full_size("v2"), metadata={"animatediff_family": "v9"})


SCHEDULE = {"kind": "linear", "beta_start": 0.001, "beta_end": 0.01}
WRONG = [
    {"kind": "cosine"},
    {"kind": None},
    {"kind": []},
    {"beta_start": "0.001"},
    {"beta_start": 0},
    {"beta_start": 0.02},
    {"beta_end": 1.5},
    {"beta_end": float("nan")},
    {"num_timesteps": 0},
    {"num_timesteps": 999.5},
]


@pytest.mark.parametrize(
    "text",
    ["nonsense", "[]", '{"kind": "linear"}', '{"a": 1}', *(json.dumps(SCHEDULE | wrong) for wrong in WRONG)],
)
def test_a_schedule_that_cannot_be_read_is_refused(text):
    known = {"animatediff_family": "v2", "animatediff_noise_schedule": text}
    with pytest.raises(FormatError, match="noise schedule"):
        recognised(full_size("v2"), metadata=known)


def test_another_number_of_down_blocks_is_asked_then_taken(tmp_path):
    model = toy("v1", mid=False)
    shallow = {n: t for n, t in weights(model).items() if ".3." not in n[:14] and ".2." not in n[:14]}
    path = write(tmp_path / "two.ckpt", shallow)
    with pytest.raises(FormatError, match=r"2 down blocks.*choose its family"):
        load_motion_module(path)
    chosen = load_motion_module(path, family="v1")
    save_motion_module(chosen, tmp_path / "own.safetensors")
    assert load_motion_module(tmp_path / "own.safetensors").config == chosen.config


def test_an_image_to_video_or_camera_file_is_not_taken_for_its_motion_part():
    state = full_size("v2")
    assert kind_of(state).name == "motion-module"
    assert kind_of(state | {"img_encoder.conv_in.weight": torch.zeros(1)}).name == "animatelcm-i2v"
