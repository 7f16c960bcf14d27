"""Script arguments, from the API and from the page."""

import pytest

from animatediff_ext.params import SETTINGS, Animation, to_api, value_of
from animatediff_ext.setting import SettingsError

OLD_API = {
    "model": "mm_sd15_v3.safetensors",
    "enable": False,
    "video_length": 0,
    "fps": 8,
    "loop_number": 0,
    "closed_loop": "R-P",
    "batch_size": 16,
    "stride": 1,
    "overlap": -1,
    "format": ("GIF", "PNG"),
    "interp": "Off",
    "interp_x": 10,
    "video_source": None,
    "video_path": "",
    "mask_path": "",
    "freeinit_enable": False,
    "freeinit_filter": "butterworth",
    "freeinit_ds": 0.25,
    "freeinit_dt": 0.25,
    "freeinit_iters": 3,
    "latent_power": 1,
    "latent_scale": 32,
    "last_frame": None,
    "latent_power_last": 1,
    "latent_scale_last": 32,
    "request_id": "",
}
"""The argument object of sd-webui-animatediff v2: names, order and defaults."""

CHANGED = {
    "model": "v2.safetensors",
    "enable": True,
    "video_length": 12,
    "fps": 7.5,
    "loop_number": 2,
    "closed_loop": "A",
    "batch_size": 8,
    "stride": 2,
    "overlap": 3,
    "format": ("MP4", "TXT"),
    "interp": "FFmpeg",
    "interp_x": 4,
    "video_source": "/tmp/clip.mp4",
    "video_path": "/tmp/frames",
    "mask_path": "/tmp/masks",
    "freeinit_enable": True,
    "freeinit_filter": "gaussian",
    "freeinit_ds": 0.5,
    "freeinit_dt": 0.125,
    "freeinit_iters": 5,
    "latent_power": 2.5,
    "latent_scale": 8,
    "last_frame": "abc=",
    "latent_power_last": 3,
    "latent_scale_last": 9,
    "request_id": "job-1",
    "prompt_blend": "lerp",
    "old_numerics": False,
    "context_schedule": "static",
    "context_weights": "flat",
    "long_clips": "views",
    "gif_max_mb": 2.5,
    "gif_max_width": 320,
    "motion_effect": "0: 0, 8: 1.5",
    "motion_effect_steps": "0%: 1, 50%: 0",
    "motion_scale": "1.2",
    "motion_blocks": "down 0: 0.5, mid: 0",
    "motion_start": 0.1,
    "motion_end": 0.9,
    "motion_positions": "cap",
    "second_model": "v1.safetensors",
    "second_model_share": 0.75,
    "motion_loras": "zoom = 0.5\npan @ 0%: 1, 60%: 0",
    "noise_kind": "FreeNoise",
    "noise_share": 0.25,
    "freeinit_coarse": True,
}


@pytest.fixture
def parse(host):
    return host.webui("arguments").parse


def of(animation: Animation) -> dict:
    return to_api(animation)


def test_the_old_names_come_first_in_the_old_order_with_the_old_defaults(parse):
    assert list(SETTINGS)[: len(OLD_API)] == list(OLD_API)
    assert {name: value_of(Animation(), SETTINGS[name]) for name in OLD_API} == OLD_API


def test_every_setting_reaches_its_place_from_the_api(parse):
    assert list(CHANGED) == list(SETTINGS)
    animation, warnings = parse([CHANGED, "a page's", "other values"], is_img2img=True)
    assert of(animation) == CHANGED
    assert warnings == []


@pytest.mark.parametrize("is_img2img", [False, True])
def test_every_field_of_the_page_reaches_its_setting(host, parse, is_img2img):
    fields = host.webui("arguments").page_fields(is_img2img)
    animation, warnings = parse([None, *(CHANGED[field.api] for field in fields)], is_img2img=is_img2img)
    expected = to_api(Animation()) | {field.api: CHANGED[field.api] for field in fields}
    assert of(animation) == expected
    assert warnings == []


def test_the_page_has_all_settings_but_that_of_services(host):
    page_fields = host.webui("arguments").page_fields
    in_img2img = [field.api for field in page_fields(True)]
    assert sorted(in_img2img) == sorted(set(SETTINGS) - {"request_id"})
    only = {"latent_power", "latent_scale", "last_frame", "latent_power_last", "latent_scale_last"}
    assert [field.api for field in page_fields(False)] == [api for api in in_img2img if api not in only]


def test_clients_may_send_fewer_values_or_none(parse):
    assert parse([], is_img2img=False) == (Animation(), [])
    assert parse([None], is_img2img=False) == (Animation(), [])
    animation, _ = parse([None, "v2.safetensors", True, 3], is_img2img=False)
    assert (animation.motion_module, animation.enabled, animation.num_frames) == ("v2.safetensors", True, 3)


def test_several_dictionaries_are_one_and_later_ones_win(parse):
    animation, _ = parse([{"enable": True, "fps": 4, "stride": 2}, {"fps": 5}, None], is_img2img=False)
    assert (animation.enabled, animation.output.fps, animation.context.stride) == (True, 5, 2)


@pytest.mark.parametrize("value", [True, "true", 1, "True"])
def test_enabled_is_enable(parse, value):
    assert parse([{"enabled": value}], is_img2img=False)[0].enabled


def test_unknown_names_are_mentioned_and_internal_ones_are_not(parse):
    old = {"is_i2i_batch": False, "video_default": False, "prompt_scheduler": None}
    _, warnings = parse([{"enable": True, "reverse": [], **old}], is_img2img=False)
    assert len(warnings) == 1
    assert "'reverse'" in warnings[0]


def test_the_old_argument_object_is_taken(parse):
    """Other extensions build one and put it where the API puts its dictionary."""

    class AnimateDiffProcess:
        def __init__(self, **values):
            self.__dict__.update({**OLD_API, "is_i2i_batch": False, "prompt_scheduler": None, **values})

    animation, warnings = parse([AnimateDiffProcess(enable=True, video_length=9, format=["GIF"])], is_img2img=False)
    assert of(animation) == to_api(Animation()) | {"enable": True, "video_length": 9, "format": ("GIF",)}
    assert warnings == []


@pytest.mark.parametrize("filling", [0, False])
def test_what_others_fill_their_places_with_asks_for_nothing(parse, filling):
    assert not parse([filling] * 60, is_img2img=False)[0].enabled


@pytest.mark.parametrize("first", [True, "v2.safetensors", 16, ["GIF"]])
def test_arguments_of_another_kind_get_a_sentence_with_an_example(parse, first):
    with pytest.raises(SettingsError, match=r"send a dictionary, \{.args.: \[\{.enable.: true"):
        parse([first, True, 16], is_img2img=False)
