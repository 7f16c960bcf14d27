"""One animation: its own settings, and all groups of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from animatediff_ext.params.context import Context
from animatediff_ext.params.free_init import FreeInit
from animatediff_ext.params.image_to_video import ImageToVideo
from animatediff_ext.params.motion import Motion
from animatediff_ext.params.noise import Noise
from animatediff_ext.params.output import Output
from animatediff_ext.params.source import Source
from animatediff_ext.setting import Checked, SettingsError, setting


@dataclass(frozen=True, kw_only=True)
class Animation(Checked):
    """Everything that was asked for one animation."""

    motion_module: str = setting(
        "mm_sd15_v3.safetensors",
        api="model",
        meaning="path relative to the folder of motion modules",
        kind=str,
        label="Motion module",
        elem_id="motion-module",
        infotext=True,
    )
    enabled: bool = setting(
        False,
        api="enable",
        meaning="whether to animate",
        kind=bool,
        label="Enable AnimateDiff",
        elem_id="enable",
    )
    num_frames: int = setting(
        0,
        api="video_length",
        info="0: one context, or as many as there are pictures in img2img or for ControlNet",
        unit="frames",
        kind=int,
        label="Number of frames",
        elem_id="video-length",
        minimum=0,
        infotext=True,
    )
    prompt_blend: str = setting(
        "slerp",
        api="prompt_blend",
        own_infotext=True,
        kind=str,
        label="Prompt blend",
        elem_id="prompt-blend",
        choices=("slerp", "lerp"),
        info="between two keys of a travelling prompt: slerp along the arc of every token, lerp along the line",
    )
    old_numerics: bool = setting(
        False,
        api="old_numerics",
        own_infotext=True,
        kind=bool,
        label="Old numerics",
        elem_id="old-numerics",
        info="windows and prompt travel as sd-webui-animatediff computed them, to reproduce one of its videos",
    )
    context: Context = Context()
    output: Output = Output()
    source: Source = Source()
    motion: Motion = Motion()
    noise: Noise = Noise()
    free_init: FreeInit = FreeInit()
    image_to_video: ImageToVideo = ImageToVideo()

    def __post_init__(self):
        super().__post_init__()
        if self.old_numerics and self.context.long_clips == "views":
            raise SettingsError(
                "Old numerics (old_numerics) has windows only, but Long clips is 'views': set that to auto or windows."
            )

    @property
    def is_loop(self) -> bool:
        """Of a resolved animation: whether its first frame follows its last one, as far as the motion goes.

        *Closed loop* joins the ends of windows that move. A clip of one context has none; A plays it back.
        """
        context = self.context
        if self.num_frames <= context.length:
            return context.closed_loop == "A"
        if self.old_numerics:
            return context.closed_loop != "N"
        return context.joins_ends

    def resolved(self, num_frames: int | None = None) -> Animation:
        """The same with every "choose for me" replaced by what it means: 0 frames is one context."""
        context = dataclasses.replace(self.context, overlap=self.context.overlap_frames)
        if self.old_numerics:
            context = dataclasses.replace(context, long_clips="windows")
        return dataclasses.replace(
            self, num_frames=num_frames or self.num_frames or self.context.length, context=context
        )
