"""The settings of one animation.

Each setting is named once, where its field is declared: what the API calls it, its label and element id in the page,
its range, its key in infotexts. The page, the API, infotexts and the XYZ plot all read `SETTINGS`, which is made
from that.

API names, labels, defaults and element ids are those of sd-webui-animatediff v2, so that its clients and users keep
working.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from animatediff_ext.setting import Checked, Setting, SettingsError, setting

VIDEO_FORMATS = ("GIF", "MP4", "WEBP", "WEBM", "PNG", "TXT")
"""What can be saved, in the order of the page."""
MAX_FPS = 1000
API_FORMATS = (*VIDEO_FORMATS, "Frame")
"""``Frame`` asks the API for the single frames beside the video."""


@dataclass(frozen=True, kw_only=True)
class Context(Checked):
    """Which frames go through the UNet together."""

    length: int = setting(
        16,
        api="batch_size",
        meaning="frames that the motion module sees together",
        unit="frames",
        kind=int,
        label="Context batch size",
        elem_id="batch-size",
        minimum=1,
        slider=(1, 64, 1),
        infotext=True,
    )
    stride: int = setting(
        1,
        api="stride",
        info="2, 3, …: also contexts of every 2nd, 4th, … frame",
        kind=int,
        label="Stride",
        elem_id="stride",
        minimum=1,
        infotext=True,
    )
    overlap: int = setting(
        -1,
        api="overlap",
        info="frames that neighbouring contexts share; -1: a quarter of the context",
        unit="frames",
        kind=int,
        label="Overlap",
        elem_id="overlap",
        minimum=-1,
        infotext=True,
    )
    closed_loop: str = setting(
        "R-P",
        api="closed_loop",
        info="does the end lead back to the beginning? N: no; R-P: the motion does; R+P: the prompts do, too; A: both, "
        "more firmly, and a clip of one context plays back",
        kind=str,
        label="Closed loop",
        elem_id="closed-loop",
        choices=("N", "R-P", "R+P", "A"),
        infotext=True,
    )
    schedule: str = setting(
        "uniform",
        api="context_schedule",
        own_infotext=True,
        kind=str,
        label="Context schedule",
        elem_id="context-schedule",
        choices=("uniform", "static", "looped"),
        info="uniform: windows move from step to step, and join the ends unless Closed loop is N; static: they stay; "
        "looped: they always join the ends",
    )
    weights: str = setting(
        "pyramid",
        api="context_weights",
        own_infotext=True,
        kind=str,
        label="Context weights",
        elem_id="context-weights",
        choices=("pyramid", "linear", "flat"),
        info="how overlapping windows are blended",
    )
    long_clips: str = setting(
        "auto",
        api="long_clips",
        own_infotext=True,
        kind=str,
        label="Long clips",
        elem_id="long-clips",
        choices=("auto", "windows", "views"),
        info="windows: the UNet runs on a context at a time (least memory); views: on the whole clip, and only motion "
        "is in contexts (least time); auto: views where there is memory for them",
    )

    def __post_init__(self):
        super().__post_init__()
        if self.overlap >= self.length:
            raise SettingsError(
                f"Overlap is {self.overlap}, but a context has only {self.length} frames: "
                f"set it to at most {self.length - 1}, or to -1 for a quarter of the context."
            )

    @property
    def overlap_frames(self) -> int:
        """Frames that neighbouring windows share; a quarter of the context by default."""
        return self.length // 4 if self.overlap < 0 else self.overlap


@dataclass(frozen=True, kw_only=True)
class Source(Checked):
    """A video that conditions the animation (read by ControlNet)."""

    video: str | None = setting(
        None,
        api="video_source",
        meaning="path on the server of a video that guides ControlNet",
        kind=None,
        label="Video source",
        elem_id="video-source",
    )
    frames_folder: str = setting(
        "",
        api="video_path",
        info="a folder of frames on the server, or a video there; wins over a video source; both guide ControlNet, and "
        "change nothing without a unit of it",
        kind=str,
        label="Video path",
        elem_id="video-path",
    )
    masks_folder: str = setting(
        "",
        api="mask_path",
        meaning="path on the server of a folder of masks for these frames",
        kind=str,
        label="Mask path",
        elem_id="mask-path",
    )


@dataclass(frozen=True, kw_only=True)
class FreeInit(Checked):
    """Refinement of the initial noise (Wu et al., arXiv 2312.07537)."""

    enabled: bool = setting(
        False,
        api="freeinit_enable",
        meaning="sample several times, each time from noise whose slow part comes from the last result",
        kind=bool,
        label="Enable FreeInit",
        elem_id="freeinit-enable",
        infotext=True,
    )
    filter: str = setting(
        "butterworth",
        api="freeinit_filter",
        own_infotext=True,
        kind=str,
        label="Filter Type",
        elem_id="freeinit-filter",
        choices=("butterworth", "gaussian", "box", "ideal"),
        info="Default as Butterworth. To fix large inconsistencies, consider using Gaussian.",
    )
    spatial_stop: float = setting(
        0.25,
        api="freeinit_ds",
        unit="share of the highest frequency",
        own_infotext=True,
        kind=float,
        label="d_s",
        elem_id="freeinit-ds",
        minimum=0,
        maximum=1,
        slider=(0, 1, 0.125),
        info="Stop frequency for spatial dimensions (0.0-1.0)",
    )
    temporal_stop: float = setting(
        0.25,
        api="freeinit_dt",
        unit="share of the highest frequency",
        own_infotext=True,
        kind=float,
        label="d_t",
        elem_id="freeinit-dt",
        minimum=0,
        maximum=1,
        slider=(0, 1, 0.125),
        info="Stop frequency for temporal dimension (0.0-1.0)",
    )
    num_iterations: int = setting(
        3,
        api="freeinit_iters",
        unit="times",
        own_infotext=True,
        kind=int,
        label="FreeInit Iterations",
        elem_id="freeinit-iters",
        minimum=1,
        maximum=10,
        slider=(2, 5, 1),
        info="Larger value leads to smoother results & longer inference time.",
    )
    coarse_to_fine: bool = setting(
        False,
        api="freeinit_coarse",
        own_infotext=True,
        kind=bool,
        label="Coarse to fine",
        elem_id="freeinit-coarse",
        info="earlier iterations take fewer steps: two thirds of the time at three iterations",
    )

    def steps_of(self, iteration: int, num_steps: int) -> int:
        """Of iteration 1, 2, …; the last one has all."""
        return max(1, num_steps * iteration // self.num_iterations) if self.coarse_to_fine else num_steps


@dataclass(frozen=True, kw_only=True)
class Noise(Checked):
    """What the noise of the frames has in common (`animatediff_ext.noise.kinds`)."""

    kind: str = setting(
        "independent",
        api="noise_kind",
        own_infotext=True,
        kind=str,
        label="Noise",
        elem_id="noise-kind",
        choices=("independent", "shared", "mixed", "repeated", "FreeNoise"),
        info="independent: of each frame's own seed; repeated and FreeNoise: of the first context, again and again, "
        "which keeps long clips of one kind; mixed: partly the same for all; shared: the same for all",
    )
    share: float = setting(
        0.5,
        api="noise_share",
        own_infotext=True,
        kind=float,
        label="Share of noise in common",
        elem_id="noise-share",
        minimum=0,
        maximum=1,
        slider=(0, 1, 0.05),
        info="0: each frame has its own noise; 1: all have the same",
    )


@dataclass(frozen=True, kw_only=True)
class Motion(Checked):
    """How much the motion module moves, where and when, and what is added to it.

    The texts are a number, or numbers that travel (`animatediff_ext.travel.values`).
    """

    effect: str = setting(
        "1",
        api="motion_effect",
        own_infotext=True,
        kind=str,
        number=True,
        label="Motion effect",
        elem_id="motion-effect",
        info="1 is as trained, 0 makes stills, more exaggerates; over frames such as 0: 0.2, 8 smooth: 1, 100%: 0.5",
    )
    effect_steps: str = setting(
        "1",
        api="motion_effect_steps",
        own_infotext=True,
        kind=str,
        number=True,
        label="Effect over sampling",
        elem_id="motion-effect-steps",
        info="a factor for the effect by the share of steps that are done, for example 0%: 1, 50% step: 1, 80%: 0",
    )
    scale: str = setting(
        "1",
        api="motion_scale",
        own_infotext=True,
        kind=str,
        number=True,
        label="Motion scale",
        elem_id="motion-scale",
        info="how sharply frames attend to each other: above 1 more motion, below 1 less; may travel over frames",
    )
    blocks: str = setting(
        "",
        api="motion_blocks",
        own_infotext=True,
        kind=str,
        label="Effect in blocks",
        elem_id="motion-blocks",
        info="a factor for the effect in parts of the UNet, for example down 0: 0.5, mid: 0, up 3.1: 1.2",
    )
    start: float = setting(
        0.0,
        api="motion_start",
        unit="share of the steps",
        own_infotext=True,
        kind=float,
        label="Motion from",
        elem_id="motion-start",
        minimum=0,
        maximum=1,
        slider=(0, 1, 0.05),
        info="at this share of the steps; frames are stills before it",
    )
    end: float = setting(
        1.0,
        api="motion_end",
        unit="share of the steps",
        own_infotext=True,
        kind=float,
        label="Motion until",
        elem_id="motion-end",
        minimum=0,
        maximum=1,
        slider=(0, 1, 0.05),
        info="at this share of the steps; frames are stills behind it",
    )
    positions: str = setting(
        "refuse",
        api="motion_positions",
        own_infotext=True,
        kind=str,
        label="Beyond the position table",
        elem_id="motion-positions",
        choices=("refuse", "stretch", "interpolate", "cap"),
        info="for a context of more frames than the motion module knows: spread its positions over them, or repeat the "
        "last",
    )
    second_module: str = setting(
        "",
        api="second_model",
        own_infotext=True,
        kind=str,
        label="Second motion module",
        elem_id="second-model",
        info="another one of the same family, to be blended with the first",
    )
    second_share: float = setting(
        0.5,
        api="second_model_share",
        meaning="0: the first module alone; 1: the second alone",
        own_infotext=True,
        kind=float,
        label="Share of the second",
        elem_id="second-model-share",
        minimum=0,
        maximum=1,
        slider=(0, 1, 0.05),
    )
    loras: str = setting(
        "",
        api="motion_loras",
        own_infotext=True,
        kind=str,
        label="Motion LoRAs",
        elem_id="motion-loras",
        info="a line each: name = 0.8; with a weight that travels over frames name = 0: 0, 100%: 1, over sampling "
        "name @ 0%: 1, 60%: 0",
    )

    def __post_init__(self):
        super().__post_init__()
        if self.start > self.end:
            raise SettingsError(
                f"Motion is to be from {self.start:g} until {self.end:g} of the steps: give an end behind the start."
            )


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


@dataclass(frozen=True, kw_only=True)
class Output(Checked):
    """What is written, and how fast it plays."""

    fps: float = setting(
        8,
        api="fps",
        meaning="how fast files play",
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
        meaning="how often a GIF or WebP plays; 0 is for ever",
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
        meaning="motion interpolation of the files: more frames in the same time",
        kind=str,
        label="Frame Interpolation",
        elem_id="interp-choice",
        choices=("Off", "FFmpeg"),
        aliases={"film": "FFmpeg", "false": "Off", "true": "FFmpeg", "none": "Off"},
        infotext=True,
    )
    interpolation_factor: int = setting(
        10,
        api="interp_x",
        meaning="how many times the FPS, with interpolation",
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
        meaning="put behind the names of files; of letters, digits, points, hyphens and underscores",
        kind=str,
        infotext=True,
    )
    gif_max_mb: float = setting(
        0,
        api="gif_max_mb",
        unit="MB of a million bytes",
        kind=float,
        label="GIF up to MB",
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
        label="GIF up to width",
        elem_id="gif-max-width",
        minimum=0,
        maximum=65_535,
        info="in pixels; 0: any width",
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
        meaning="whether to animate at all",
        kind=bool,
        label="Enable AnimateDiff",
        elem_id="enable",
    )
    num_frames: int = setting(
        0,
        api="video_length",
        meaning="of the clip; 0 is one context, or as many as img2img got pictures",
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
        info="between two keys of a prompt that travels: slerp along the arc of every token, lerp along the line",
    )
    old_numerics: bool = setting(
        False,
        api="old_numerics",
        own_infotext=True,
        kind=bool,
        label="Old numerics",
        elem_id="old-numerics",
        info="windows and prompt travel of sd-webui-animatediff, to make one of its videos again",
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
        return context.schedule == "looped" or (context.schedule != "static" and context.closed_loop != "N")

    def resolved(self, num_frames: int | None = None) -> Animation:
        """The same with every "choose for me" replaced by what it means: 0 frames is one context."""
        context = dataclasses.replace(self.context, overlap=self.context.overlap_frames)
        if self.old_numerics:
            context = dataclasses.replace(context, long_clips="windows")
        return dataclasses.replace(
            self, num_frames=num_frames or self.num_frames or self.context.length, context=context
        )


def _collect(cls: type, prefix: str = "") -> Iterable[Setting]:
    for entry in dataclasses.fields(cls):
        if "setting" in entry.metadata:
            yield dataclasses.replace(entry.metadata["setting"], path=prefix + entry.name)
        else:
            yield from _collect(type(entry.default), f"{prefix}{entry.name}.")


_ORDER = (
    *("model", "enable", "video_length", "fps", "loop_number", "closed_loop", "batch_size", "stride", "overlap"),
    *("format", "interp", "interp_x", "video_source", "video_path", "mask_path"),
    *("freeinit_enable", "freeinit_filter", "freeinit_ds", "freeinit_dt", "freeinit_iters"),
    *("latent_power", "latent_scale", "last_frame", "latent_power_last", "latent_scale_last", "request_id"),
)
"""The order of the old extension's argument object, which clients may pass as a list; ours follow behind."""

SETTINGS: dict[str, Setting] = {
    known.api: known
    for known in sorted(
        _collect(Animation), key=lambda known: _ORDER.index(known.api) if known.api in _ORDER else len(_ORDER)
    )
}
"""Every setting by its API name, in API order."""

_INTERNAL = {"is_i2i_batch", "video_default", "prompt_scheduler"}
"""Attributes of the old argument object that clients may send back; they mean nothing."""
_OTHER_NAMES = {"enabled": "enable"}


def from_api(arguments: Mapping[str, Any]) -> tuple[Animation, list[str]]:
    """Settings from API names, and a sentence for each key that is not known. Missing keys take their defaults."""
    groups: dict[str, dict[str, Any]] = {}
    warnings = []
    for key, value in arguments.items():
        known = SETTINGS.get(_OTHER_NAMES.get(key, key))
        if known is None:
            if key not in _INTERNAL:
                warnings.append(f"AnimateDiff does not know the argument {key!r}; it was ignored.")
            continue
        group, _, name = known.path.rpartition(".")
        groups.setdefault(group, {})[name] = value
    whole = groups.pop("", {})
    parts = {name: type(getattr(Animation(), name))(**values) for name, values in groups.items()}
    return Animation(**whole, **parts), warnings


def to_api(animation: Animation) -> dict[str, Any]:
    """All settings under their API names, in API order."""
    return {api: value_of(animation, known) for api, known in SETTINGS.items()}


def value_of(animation: Animation, known: Setting) -> Any:
    """The value of one setting."""
    value = animation
    for name in known.path.split("."):
        value = getattr(value, name)
    return value
