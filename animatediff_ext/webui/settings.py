"""Our section of the WebUI's settings. Names, defaults and labels are the old extension's, as far as it had them.

The API sets each of them for one request by its name in ``override_settings``. docs/output.md lists them.
"""

from __future__ import annotations

from functools import partial

import gradio as gr
from modules import shared

from animatediff_ext.media import EncodeOptions
from animatediff_ext.media.options import TUNES
from animatediff_ext.params import VIDEO_FORMATS
from animatediff_ext.webui import sealed

SECTION = ("animatediff", "AnimateDiff")


def on_ui_settings() -> None:
    """Callback of the WebUI, which may call it again."""
    _models_and_names()
    _encoders()
    _sources()
    _s3()


def _models_and_names() -> None:
    _add(
        "animatediff_model_path",
        None,
        "Path to save AnimateDiff motion modules",
        gr.Textbox,
        {"placeholder": "Leave empty to use the folder model of this extension"},
    ).info("the folder of this extension, and that of the old one, are looked through as well")
    _add(
        "animatediff_default_save_formats",
        ["GIF", "PNG"],
        "Default Save Formats",
        gr.CheckboxGroup,
        {"choices": list(VIDEO_FORMATS)},
    ).info(
        "what is ticked in the page at first, and what a request of the API gets that does not say format"
    ).needs_reload_ui()
    _add(
        "animatediff_save_to_custom",
        True,
        "Save frames to outputs/{txt|img}2img-images/AnimateDiff/{date}/{video name}/ instead of outputs/{txt|img}2img-"
        "images/{date}/",
        gr.Checkbox,
    ).info("off: they are saved as stills are, with numbers and seeds of their own")
    _add("animatediff_webui_names", True, "Name videos by the patterns for pictures", gr.Checkbox).info(
        "Images filename pattern, Directory name pattern and their like, within the folder AnimateDiff; off: always "
        "{date}/{number}-{seed}"
    )

    _add("animatediff_moving_grids", True, "Grids of X/Y/Z plots move", gr.Checkbox).info(
        "in the formats of the animations; off, they show the first frames"
    )


def _encoders() -> None:
    presets = ["", "veryslow", "slower", "slow", "medium", "fast", "faster", "veryfast", "superfast", "ultrafast"]
    _add("animatediff_optimize_gif_palette", False, "Calculate one optimal palette for a whole GIF", gr.Checkbox).info(
        "fewer colours flicker; off, every frame has its own palette"
    )
    _add(
        "animatediff_optimize_gif_gifsicle", False, "Optimize GIFs as gifsicle does, reduces file size", gr.Checkbox
    ).info(
        "one palette for the whole GIF, which is what gifsicle makes of them; only what changes from frame to frame is "
        "stored in any case, and gifsicle itself is not needed. For a size that fits, see Largest GIF"
    )
    _add("animatediff_mp4_codec", "h264", "MP4 codec", gr.Dropdown, {"choices": list(TUNES)}).info(
        "h264 plays everywhere; h265 and av1 make smaller files, and some builds of PyAV lack them"
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
    ).info("100 for best quality; with lossless, the effort spent on a smaller file")
    _add(
        "animatediff_webp_lossless",
        False,
        "Save WebP in lossless format (highest quality, largest file size)",
        gr.Checkbox,
    ).info("every pixel as it was generated")


def _sources() -> None:
    _add(
        "animatediff_frame_extract_path",
        None,
        "Path to save extracted frames",
        gr.Textbox,
        {"placeholder": "Leave empty to use a temporary folder, which is removed"},
    ).info("of a video source that guides ControlNet")
    _add(
        "animatediff_frame_extract_remove", False, "Always remove extracted frames after processing", gr.Checkbox
    ).info("those in a folder of yours; temporary ones are removed in any case")
    _add(
        "animatediff_default_frame_extract_method",
        "ffmpeg",
        "Default frame extraction method",
        gr.Radio,
        {"choices": ["ffmpeg", "opencv"]},
    ).info("makes no difference any more: FFmpeg reads videos within PyAV, and every frame of them is taken")


def _s3() -> None:
    ours = {"restrict_api": True}  # no client of the API chooses whom the keys that are kept here are shown to
    _add(
        "animatediff_s3_enable",
        False,
        "Enable to Store file in object storage that supports the s3 protocol",
        gr.Checkbox,
    ).info("GIF, MP4, WEBP and WEBM, besides the output folder; needs the Python package boto3")
    _add(
        "animatediff_s3_host", None, "S3 protocol host", gr.Textbox, {"placeholder": "Leave empty for Amazon"}, **ours
    ).info("by https, unless it begins with http://")
    _add("animatediff_s3_port", None, "S3 protocol port", gr.Textbox, **ours).info("empty: 443, or 80 for http")
    labels = {
        "animatediff_s3_access_key": "S3 protocol access_key",
        "animatediff_s3_secret_key": "S3 protocol secret_key",
    }
    for secret, label in labels.items():
        info = _add(secret, None, label, gr.Textbox, {"type": "password"})
        info.info(f"moves into {sealed.FILE}, since all pages and clients see settings; empty: boto3's own sources")
        info.onchange = partial(sealed.changed, secret)
    sealed.seal_for_good(*labels)
    _add("animatediff_s3_storge_bucket", None, "Bucket for file storage", gr.Textbox, **ours).info(
        "made if it is not there"
    )


def _add(name: str, default, label: str, component, arguments: dict | None = None, **how):
    info = shared.OptionInfo(default, label, component, arguments, section=SECTION, **how)
    shared.opts.add_option(name, info)
    return info


def encode_options() -> EncodeOptions:
    """The settings that say how files are encoded."""
    opts = shared.opts
    one_palette = opts.animatediff_optimize_gif_palette or opts.animatediff_optimize_gif_gifsicle
    return EncodeOptions(
        mp4_crf=_whole(opts.animatediff_mp4_crf),
        mp4_preset=opts.animatediff_mp4_preset,
        mp4_tune=opts.animatediff_mp4_tune,
        webp_quality=_whole(opts.animatediff_webp_quality),
        webp_lossless=opts.animatediff_webp_lossless,
        mp4_codec=opts.animatediff_mp4_codec,
        gif_palette="clip" if one_palette else "frame",
    )


def _whole(value):
    """Sliders and clients send 23.0 and "23" as well; what is no number is left to `EncodeOptions` to refuse."""
    try:
        return int(value)
    except (OverflowError, TypeError, ValueError):
        return value
