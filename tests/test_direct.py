"""Settings of motion → what is asked of the modules at each step."""

import pytest

from animatediff_ext.direct import Director, blocks_of, check_blocks, loras_by_name, loras_of
from animatediff_ext.params import Animation, Motion, Output
from animatediff_ext.setting import SettingsError
from tests.models.motion import motion_config


def animation(**motion):
    return Animation(num_frames=5, output=Output(fps=4), motion=Motion(**motion)).resolved()


def test_by_default_nothing_is_asked():
    direction = Director(animation()).direction(0.5)
    assert (direction.effect, direction.scale, dict(direction.blocks), direction.positions) == ((), (), {}, "refuse")


def test_effects_over_frames_and_over_sampling_are_multiplied():
    director = Director(animation(effect="0: 0, 4: 2", effect_steps="0%: 1, 50%: 0.5"))
    assert director.direction(0.0).effect == [0, 0.5, 1, 1.5, 2]
    assert director.direction(0.25).effect == [0, 0.375, 0.75, 1.125, 1.5]
    assert director.direction(0.9).effect == [0, 0.25, 0.5, 0.75, 1]


def test_motion_has_a_first_and_a_last_step():
    director = Director(animation(start=0.25, end=0.5))
    moves = [director.direction(step / 8).effect == () for step in range(8)]
    assert moves == [False, False, True, True, False, False, False, False]
    assert all(Director(animation()).direction(step / 8).effect == () for step in range(8))


def test_scale_travels_over_frames():
    assert Director(animation(scale="0s: 1, 1s: 3")).direction(0).scale == [1, 1.5, 2, 2.5, 3]


def test_blocks_are_levels_modules_and_the_middle():
    assert blocks_of("down 0: 0.5, mid: 0; UP 3.1: 1.2\nup: 2") == {
        "down_blocks.0": 0.5,
        "mid_block": 0.0,
        "up_blocks.3.motion_modules.1": 1.2,
        "up_blocks": 2.0,
    }


@pytest.mark.parametrize("text", ["down", "left 0: 1", "down 0: much", "down 0: 1.2.3", "0.5"])
def test_blocks_that_are_none_are_said(text):
    with pytest.raises(
        SettingsError, match=r"Effect in blocks \(motion_blocks\) has .*down 0: 0.5, mid: 0, up 3.1: 1.2"
    ):
        blocks_of(text)


def test_weights_of_loras_are_constant_or_travel():
    lines = "zoom\n\npan=0.5\nC:\\motion\\tilt.safetensors = 0: 0, 4: 1\nroll @ 0%: 1, 50%: 0"
    zoom, pan, tilt, roll = loras_of(animation(loras=lines))
    assert [lora.name for lora in (zoom, pan, tilt, roll)] == ["zoom", "pan", "C:\\motion\\tilt.safetensors", "roll"]
    assert (zoom.now(0.7, [3]), pan.now(0.7, [3])) == (1.0, 0.5)
    assert tilt.now(0.7, [0, 2, 4]) == [0, 0.5, 1]
    assert [roll.now(progress, [0]) for progress in (0, 0.25, 0.8)] == [1, 0.5, 0]


@pytest.mark.parametrize("path", ["/models@2024/zoom.safetensors", "D:\\loras\\a=1\\zoom.safetensors"])
def test_folders_may_have_the_signs_of_weights_in_their_names(path):
    assert [(lora.name, lora.now(0, [0])) for lora in loras_of(animation(loras=f"{path} = 0.8\n{path}"))] == [
        (path, 0.8),
        (path, 1.0),
    ]


def test_a_block_where_nothing_is_is_said():
    sites = motion_config("v3").sites()
    check_blocks("down 3: 0, mid: 0, up 0.2: 1, up: 2", list(sites))
    for text in ("down 4: 0", "up 0.3: 0"):
        with pytest.raises(SettingsError, match="where this motion module has nothing: its levels are 0 to 3"):
            check_blocks(text, list(sites))


def test_files_go_by_their_names():
    assert loras_by_name("C:\\a b\\zoom.safetensors = 0: 0, 4: 1\n/m/pan.ckpt @ 50%: 1\nroll") == (
        "zoom.safetensors = 0: 0, 4: 1\npan.ckpt @ 50%: 1\nroll"
    )


def test_a_weight_that_cannot_be_read_names_its_lora():
    with pytest.raises(SettingsError, match=r"The weight of zoom \(Motion LoRAs \(motion_loras\)\) is '1: much'"):
        loras_of(animation(loras="zoom = 1: much"))
