"""How far frames may move away from the pictures of img2img."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from animatediff_ext.setting import Checked, setting


@dataclass(frozen=True, kw_only=True)
class ImageToVideo(Checked):
    """How far each frame may move away from the first picture, and from the last one."""

    latent_power: float = setting(
        1.0,
        api="latent_power",
        info="frame i begins with 1 - i^power / scale of the picture; the rest is noise",
        kind=float,
        label="Latent power",
        elem_id="latent-power",
        minimum=0.1,
        maximum=10,
        slider=(0.1, 10, 0.1),
        infotext=True,
        img2img_only=True,
    )
    latent_scale: float = setting(
        32.0,
        api="latent_scale",
        info="the larger, the longer frames stay near the picture",
        kind=float,
        label="Latent scale",
        elem_id="latent-scale",
        minimum=1,
        maximum=128,
        slider=(1, 128, 1),
        infotext=True,
        img2img_only=True,
    )
    last_frame: Any = setting(  # a picture: base64 text from the API, a PIL image from the page
        None,
        api="last_frame",
        meaning="a picture that the last frames come near to, as base64 text",
        kind=None,
        label="Optional last frame. Leave it blank if you do not need one.",
        elem_id="last-frame",
        img2img_only=True,
    )
    latent_power_last: float = setting(
        1.0,
        api="latent_power_last",
        info="the same, counted from the last frame",
        kind=float,
        label="Optional latent power for last frame",
        elem_id="latent-power-last",
        minimum=0.1,
        maximum=10,
        slider=(0.1, 10, 0.1),
        infotext=True,
        img2img_only=True,
    )
    latent_scale_last: float = setting(
        32.0,
        api="latent_scale_last",
        info="the same, counted from the last frame",
        kind=float,
        label="Optional latent scale for last frame",
        elem_id="latent-scale-last",
        minimum=1,
        maximum=128,
        slider=(1, 128, 1),
        infotext=True,
        img2img_only=True,
    )
