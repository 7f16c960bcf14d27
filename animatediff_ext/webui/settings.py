"""Our section of the WebUI's settings. Names, defaults and labels are the old extension's."""

from __future__ import annotations

import gradio as gr
from modules import shared

from animatediff_ext.media import EncodeOptions
from animatediff_ext.params import VIDEO_FORMATS

SECTION = ("animatediff", "AnimateDiff")


def on_ui_settings() -> None:
    """Callback of the WebUI."""
    presets = ["", "veryslow", "slower", "slow", "medium", "fast", "faster", "veryfast", "superfast", "ultrafast"]
    _add(
        "animatediff_model_path",
        None,
        "Path to save AnimateDiff motion modules",
        gr.Textbox,
        {"placeholder": "Leave empty to use the folder model of this extension"},
    )
    _add(
        "animatediff_default_save_formats",
        ["GIF", "PNG"],
        "Default Save Formats",
        gr.CheckboxGroup,
        {"choices": list(VIDEO_FORMATS)},
    ).needs_reload_ui()
    _add(
        "animatediff_save_to_custom",
        True,
        "Save frames to outputs/{txt|img}2img-images/AnimateDiff/{date}/{video name}/ instead of outputs/{txt|img}2img-"
        "images/{date}/",
        gr.Checkbox,
    )
    _add("animatediff_optimize_gif_palette", False, "Calculate one optimal palette for a whole GIF", gr.Checkbox).info(
        "fewer colours flicker; off, every frame has its own palette"
    )
    _add("animatediff_mp4_crf", 23, "MP4 Quality (CRF)", gr.Slider, {"minimum": 0, "maximum": 51, "step": 1}).link(
        "docs", "https://trac.ffmpeg.org/wiki/Encode/H.264#crf"
    ).info("17 for best quality, up to 28 for smaller size")
    _add("animatediff_mp4_preset", "", "MP4 Encoding Preset", gr.Dropdown, {"choices": presets}).link(
        "docs", "https://trac.ffmpeg.org/wiki/Encode/H.264#Preset"
    ).info("encoding speed, use the slowest you can tolerate")
    _add(
        "animatediff_mp4_tune",
        "",
        "MP4 Tune encoding for content type",
        gr.Dropdown,
        {"choices": ["", "film", "animation", "grain"]},
    ).link("docs", "https://trac.ffmpeg.org/wiki/Encode/H.264#Tune").info("optimize for specific content types")
    _add(
        "animatediff_webp_quality",
        80,
        "WebP Quality (if lossless=True, increases compression and CPU usage)",
        gr.Slider,
        {"minimum": 1, "maximum": 100, "step": 1},
    )
    _add(
        "animatediff_webp_lossless",
        False,
        "Save WebP in lossless format (highest quality, largest file size)",
        gr.Checkbox,
    )
    _add("animatediff_moving_grids", True, "Grids of X/Y/Z plots move", gr.Checkbox).info(
        "in the formats of the animations; off, they show the first frames"
    )


def _add(name: str, default, label: str, component, arguments: dict | None = None):
    info = shared.OptionInfo(default, label, component, arguments, section=SECTION)
    shared.opts.add_option(name, info)
    return info


def encode_options() -> EncodeOptions:
    """The settings that say how files are encoded."""
    opts = shared.opts
    return EncodeOptions(
        mp4_crf=int(opts.animatediff_mp4_crf),
        mp4_preset=opts.animatediff_mp4_preset,
        mp4_tune=opts.animatediff_mp4_tune,
        webp_quality=int(opts.animatediff_webp_quality),
        webp_lossless=opts.animatediff_webp_lossless,
        gif_palette="clip" if opts.animatediff_optimize_gif_palette else "frame",
    )
