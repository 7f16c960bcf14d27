"""Our section of the host's settings."""

import re
from pathlib import Path

import pytest

from animatediff_ext.media import EncodeOptions

ROOT = Path(__file__).parents[2]

OLD = {
    "animatediff_model_path": None,
    "animatediff_default_save_formats": ["GIF", "PNG"],
    "animatediff_save_to_custom": True,
    "animatediff_frame_extract_path": None,
    "animatediff_frame_extract_remove": False,
    "animatediff_default_frame_extract_method": "ffmpeg",
    "animatediff_optimize_gif_palette": False,
    "animatediff_optimize_gif_gifsicle": False,
    "animatediff_mp4_crf": 23,
    "animatediff_mp4_preset": "",
    "animatediff_mp4_tune": "",
    "animatediff_webp_quality": 80,
    "animatediff_webp_lossless": False,
    "animatediff_s3_enable": False,
    "animatediff_s3_host": None,
    "animatediff_s3_port": None,
    "animatediff_s3_access_key": None,
    "animatediff_s3_secret_key": None,
    "animatediff_s3_storge_bucket": None,
}
"""Names and defaults of sd-webui-animatediff, whose values are in users' config.json."""


def test_names_and_defaults_are_the_old_ones(host):
    ours = {name: info for name, info in host.opts.data_labels.items() if name.startswith("animatediff_")}
    assert {name: ours[name].default for name in OLD} == OLD
    assert {info.section for info in ours.values()} == {("animatediff", "AnimateDiff")}
    assert all(info.label for info in ours.values())
    assert all(info.comment_after for info in ours.values()), "each is explained"


def test_settings_are_there_without_a_page(host):
    """With --nowebui the host builds no page, and asks nobody for settings."""
    host.opts.data_labels = {}
    host.callbacks.call("before_ui")
    assert set(OLD) <= set(host.opts.data_labels)
    assert isinstance(host.webui("settings").encode_options(), EncodeOptions)


def test_every_setting_is_documented_as_it_is(host):
    document = (ROOT / "docs" / "output.md").read_text(encoding="utf-8")
    ours = {name: info for name, info in host.opts.data_labels.items() if name.startswith("animatediff_")}
    documented = re.findall(r"^\| `(animatediff_\w+)` \| `(.*?)` \|", document, re.MULTILINE)
    assert dict(documented) == {name: repr(info.default) for name, info in ours.items()}


def test_values_of_the_user_survive_a_start(host):
    host.opts.data["animatediff_mp4_crf"] = 17
    host.callbacks.call("ui_settings")
    assert host.opts.animatediff_mp4_crf == 17


@pytest.mark.parametrize("name", ["animatediff_mp4_preset", "animatediff_mp4_tune", "animatediff_mp4_codec"])
def test_every_choice_is_one_that_the_encoder_knows(host, name):
    for choice in host.opts.data_labels[name].component_args["choices"]:
        host.opts.data[name] = choice
        assert isinstance(host.webui("settings").encode_options(), EncodeOptions)


def test_settings_reach_the_encoders(host):
    host.opts.data.update(
        animatediff_mp4_crf=17.0,
        animatediff_mp4_preset="slow",
        animatediff_mp4_tune="grain",
        animatediff_webp_quality=50.0,
        animatediff_webp_lossless=True,
        animatediff_optimize_gif_palette=True,
        animatediff_mp4_codec="h265",
    )
    assert host.webui("settings").encode_options() == EncodeOptions(
        mp4_crf=17,
        mp4_preset="slow",
        mp4_tune="grain",
        webp_quality=50,
        webp_lossless=True,
        gif_palette="clip",
        mp4_codec="h265",
    )


def test_gifsicles_one_palette_needs_no_gifsicle(host):
    host.opts.data["animatediff_optimize_gif_gifsicle"] = True
    assert host.webui("settings").encode_options() == EncodeOptions(gif_palette="clip")


def test_registering_again_leaves_one_callback_of_each(host):
    """The host runs the door once for each tab, and again on *Reload UI*."""
    for _ in range(3):
        host.ours.register()
    assert {kind: len(callbacks) for kind, callbacks in host.callbacks.callback_map.items()} == {
        "ui_settings": 1,
        "before_ui": 3,
        "app_started": 1,
        "cfg_denoiser": 1,
        "infotext_pasted": 1,
        "script_unloaded": 1,
    }
