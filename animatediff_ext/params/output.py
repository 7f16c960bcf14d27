"""Files: which, how fast they play, what they are called."""

from __future__ import annotations

import re
from dataclasses import dataclass

from animatediff_ext.setting import Checked, SettingsError, setting

VIDEO_FORMATS = ("GIF", "MP4", "WEBP", "WEBM", "PNG", "TXT")
"""What can be saved, in the order of the page."""
MAX_FPS = 1000
API_FORMATS = (*VIDEO_FORMATS, "Frame")
"""``Frame`` asks the API for the single frames beside the video."""


@dataclass(frozen=True, kw_only=True)
class Output(Checked):
    """What is written, and how fast it plays."""

    fps: float = setting(
        8,
        api="fps",
        info="frames per second of the files",
        unit="frames per second",
        kind=float,
        label="FPS",
        elem_id="fps",
        minimum=0.1,
        maximum=240,
        infotext=True,
    )
    loop_count: int = setting(
        0,
        api="loop_number",
        info="plays of a GIF or WEBP; 0: for ever",
        unit="times",
        kind=int,
        label="Display loop number",
        elem_id="loop-number",
        minimum=0,
        maximum=65_535,
        infotext=True,
    )
    formats: tuple[str, ...] = setting(
        ("GIF", "PNG"),
        api="format",
        meaning="files to make; Frame, from the API alone: the single frames as well",
        kind=list,
        label="Save format",
        elem_id="save-format",
        choices=API_FORMATS,
        own_infotext=True,
    )
    interpolation: str = setting(
        "Off",
        api="interp",
        info="FFmpeg: more frames in the same time, so that motion is smoother",
        kind=str,
        label="Frame Interpolation",
        elem_id="interp-choice",
        choices=("Off", "FFmpeg"),
        aliases={"film": "FFmpeg", "true": "FFmpeg", **dict.fromkeys(("false", "none", "no", ""), "Off")},
        infotext=True,
    )
    interpolation_factor: int = setting(
        10,
        api="interp_x",
        info="how many times the FPS: 3 makes 24 of 8; GIFs show at most 50 a second",
        kind=int,
        label="Interp X",
        elem_id="interp-x",
        minimum=1,
        maximum=100,
        infotext=True,
    )
    request_id: str = setting(
        "",
        api="request_id",
        meaning="appended to the names of files; of letters, digits, points, hyphens and underscores",
        kind=str,
        infotext=True,
    )
    gif_max_mb: float = setting(
        0,
        api="gif_max_mb",
        unit="MB of a million bytes",
        kind=float,
        label="Largest GIF (MB)",
        elem_id="gif-max-mb",
        minimum=0,
        maximum=1000,
        info="0: any size; a GIF that would be larger gets fewer colours, then a smaller picture",
    )
    gif_max_width: int = setting(
        0,
        api="gif_max_width",
        unit="pixels",
        kind=int,
        label="Widest GIF (pixels)",
        elem_id="gif-max-width",
        minimum=0,
        maximum=65_535,
        info="0: any width",
    )

    def __post_init__(self):
        super().__post_init__()
        played = self.fps * (1 if self.interpolation == "Off" else self.interpolation_factor)
        if played > MAX_FPS:
            raise SettingsError(
                f"FPS {self.fps:g} times Interp X {self.interpolation_factor} is {played:g}, but files play at most "
                f"{MAX_FPS} frames a second: lower one of the two."
            )
        if not re.fullmatch(r"[\w.-]{0,100}", self.request_id):
            raise SettingsError(
                f"request_id is {self.request_id!r}, but it becomes part of a file name: "
                "use at most 100 letters, digits, points, hyphens and underscores."
            )
