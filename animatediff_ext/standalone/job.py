"""Everything that one job of ``generate`` can be told.

Each option is named once, and that name is its flag (with hyphens), its key in TOML and its key in a line of JSONL. The
settings of the animation itself are those of `animatediff_ext.params`, under their API names; two of them have a second
name here (`OTHER_NAMES`).
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animatediff_ext import params
from animatediff_ext.params import Animation
from animatediff_ext.setting import Checked, Setting, SettingsError, setting
from animatediff_ext.whole_file import is_device

SAMPLER_NAMES = ("DDIM", "Euler", "Euler SGM Uniform", "Euler a", "DPM++ 2M", "LCM")
"""The keys of `samplers.SAMPLERS`, whose import takes seconds."""
DTYPES = ("auto", "float16", "bfloat16", "float32")
RANDOM = -1
"""As a seed: another one each time."""


def option(default: Any, info: str, **facts) -> Any:
    """Declare an option. Its kind is that of its default, its name is that of its field."""
    return setting(default, api="", kind=facts.pop("kind", type(default)), info=info, **facts)


def named(cls: type) -> type:
    """A dataclass whose options are called as its fields."""
    for name, entry in vars(cls).items():
        if isinstance(entry, dataclasses.Field) and "setting" in entry.metadata:
            entry.metadata = {"setting": dataclasses.replace(entry.metadata["setting"], api=name)}
    return dataclass(frozen=True, kw_only=True)(cls)


@named
class Job(Checked):
    """One clip, or one still."""

    checkpoint: str = option("", "SD 1.5 or SDXL: a .safetensors or .ckpt file, or a diffusers folder", is_path=True)
    prompt: str = option("", "what the clip shows")
    negative: str = option("", "what it does not show")
    size: str = option("512x512", "WIDTHxHEIGHT in pixels, multiples of 8")
    steps: int = option(25, "of the sampler", minimum=1, maximum=1000)
    cfg: float = option(7.5, "classifier-free guidance; up to 1 the negative prompt has no effect", minimum=0)
    seed: int = option(1, "decides the noise; -1: a random one", minimum=RANDOM, maximum=2**62)
    sampler: str = option("DDIM", "", choices=SAMPLER_NAMES)
    clip_skip: int = option(1, "which layer of SD 1.5's text encoder is read, from its end; 1: the last", minimum=1)
    lora: tuple[str, ...] = option((), "FILE:STRENGTH, for images or for motion; may come several times", kind=list)
    init: str = option("", "a picture to start from; or a video, a GIF or a folder, frame by frame", is_path=True)
    strength: float = option(0.75, "how far to go from there: 0 not at all, 1 all the way", minimum=0, maximum=1)
    vae: str = option("", "another VAE than the checkpoint's own", is_path=True)
    tokenizer: str = option("", "folder of a CLIP tokenizer, where a file has none beside it", is_path=True)
    prediction: str = option("auto", "what the UNet predicts", choices=("auto", "epsilon", "v"))
    output: str = option("outputs", "folder of the files", is_path=True)
    name: str = option("", "of the files; empty: from the number of the job")
    device: str = option("auto", "auto: the GPU where there is one; or cpu, cuda, cuda:1, mps")
    dtype: str = option("auto", "number format; auto: float16 on a GPU, float32 on a CPU", choices=DTYPES)
    low_memory: bool = option(False, "only the part that works is on the GPU, and one prompt at a time")
    animation: Animation = dataclasses.field(default_factory=lambda: _animation({}))

    def __post_init__(self):
        super().__post_init__()
        if not self.checkpoint:
            raise SettingsError("There is no checkpoint: give --checkpoint a file or folder of SD 1.5 or SDXL.")
        if "<lora:" in self.prompt:
            raise SettingsError("The prompt has <lora:…> in it, which the WebUI reads: give --lora FILE:STRENGTH.")
        if not re.fullmatch(r"(?!\.)[\w ().,+=-]{0,150}", self.name) or is_device(self.name):
            raise SettingsError(
                f"name is {self.name!r}, but it is to be the name of files: use at most 150 letters, digits, spaces, "
                "points and hyphens, no folder, which is what output is for, and no name that Windows has for devices."
            )
        parse_size(self.size)
        for text in self.lora:
            parse_lora(text)
        self._check_animation()

    def _check_animation(self) -> None:
        animation = self.animation
        if animation.source != params.Source():
            raise SettingsError(
                "video_source, video_path and mask_path guide ControlNet, which this command has not: give the video "
                "as init."
            )
        if "Frame" in animation.output.formats:
            raise SettingsError(f"format has Frame, which is no file: choose from {', '.join(params.VIDEO_FORMATS)}.")
        if animation.enabled and not animation.motion_module and animation.num_frames != 1:
            raise SettingsError("There is no motion module: give --motion-module FILE, or --frames 1 for a still.")

    @property
    def picture_size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return parse_size(self.size)

    @property
    def loras(self) -> list[tuple[Path, float]]:
        """Files with their strengths."""
        return [parse_lora(text) for text in self.lora]

    @property
    def motion_module(self) -> str:
        """The file of the motion module, empty where none is used."""
        return self.animation.motion_module if self.animation.enabled else ""

    @property
    def digest(self) -> str:
        """Eight digits that are the same for the same clip, wherever and however it is made; files count by name."""
        values = {name: value for name, value in values_of(self).items() if name not in _NOT_CONTENT}
        return hashlib.blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=4).hexdigest()


def parse_size(text: str) -> tuple[int, int]:
    """``512x768`` → width, height. Raises `SettingsError`."""
    match = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", text.strip().lower())
    width, height = map(int, match.groups()) if match else (0, 0)
    if not width or not height or width % 8 or height % 8:
        raise SettingsError(f"size is {text!r}: give WIDTHxHEIGHT, both multiples of 8, such as 512x512.")
    return width, height


def parse_lora(text: str) -> tuple[Path, float]:
    """``FILE:0.8``; the strength may be left out. A colon may also be part of the path. Raises `SettingsError`."""
    path, colon, strength = text.rpartition(":")
    try:
        return (Path(path), float(strength)) if colon and path else (Path(text), 1.0)
    except ValueError:
        if colon and not re.search(r"[\\/.]", strength):
            raise SettingsError(f"lora is {text!r}: give FILE:STRENGTH, such as zoom.safetensors:0.8.") from None
        return Path(text), 1.0


_NOT_CONTENT = ("output", "name", "device", "low_memory")
"""Where and how a clip is made, not what is in it."""
_DEFAULTS = {"enable": True, "model": "", "format": ("GIF", "MP4")}
"""Of the animation, where the WebUI's are others: here somebody asked for one, and there is no list of modules."""
OTHER_NAMES = {"frames": "video_length", "motion_module": "model"}
"""What a command line rather says → the API name."""
_OWN: dict[str, Setting] = {
    entry.name: entry.metadata["setting"] for entry in dataclasses.fields(Job) if "setting" in entry.metadata
}
_ABOUT = {
    "model": "a motion module: a file, or a diffusers folder; not needed for a still",
    "video_length": "frames of the clip; 0: one context, which is 16, or all frames of init",
    "fps": "frames a second",
    "format": "files to write, with commas between",
    "enable": "false leaves the motion module out: frames that know nothing of each other",
}
"""Options of the animation that have no label which says enough here."""


def _as_here(known: Setting) -> Setting:
    default = _DEFAULTS.get(known.api, known.default)
    choices = params.VIDEO_FORMATS if known.api == "format" else known.choices
    return dataclasses.replace(known, default=default, choices=choices, info=_ABOUT.get(known.api, known.info))


OPTIONS: dict[str, Setting] = _OWN | {name: _as_here(known) for name, known in params.SETTINGS.items()}
"""All options by name, those with two names under that of the API."""


def _animation(values: Mapping[str, Any]) -> Animation:
    return params.from_api(_DEFAULTS | values)[0]


def job_of(values: Mapping[str, Any]) -> Job:
    """A job from options by name (`settled`). Raises `SettingsError`."""
    own = {name: value for name, value in values.items() if name in _OWN}
    return Job(**own, animation=_animation({name: value for name, value in values.items() if name not in _OWN}))


def values_of(job: Job) -> dict[str, Any]:
    """All options of a job by name, as `job_of` takes them."""
    return {name: getattr(job, name) for name in _OWN} | params.to_api(job.animation)


def settled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they were written, under the names of `OPTIONS`. Raises `SettingsError` for a name that is none."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = OTHER_NAMES.get(key, key)
        if name not in OPTIONS:
            raise SettingsError(_unknown(key))
        if name in found:
            raise SettingsError(f"{key} is another name of an option that is given as well: leave one of them out.")
        found[name] = _as_list(OPTIONS[name], value)
    return found


def _as_list(known: Setting, value: Any) -> Any:
    """``gif,mp4`` → two of them; a list of files is left as it is, since names of files may have commas."""
    return value.split(",") if known.kind is list and known.choices and isinstance(value, str) else value


def _unknown(key: str) -> str:
    near = _nearest(key)
    return f"There is no option {key}: " + (f"did you mean {near}?" if near else f"there are {', '.join(_names())}.")


def _nearest(key: str) -> str | None:
    """The option that was probably meant: so spelled, so begun, or so described."""
    words = key.lower().replace("_", " ")
    same, similar = (difflib.get_close_matches(key, _names(), n=1, cutoff=cutoff) for cutoff in (0.8, 0.6))
    begun = [name for name in _names() if key.startswith(name)]
    described = [name for name, known in OPTIONS.items() if words in f"{known.label} {known.info}".lower()]
    return next(iter([*same, *begun, *similar, *described]), None)


def _names() -> list[str]:
    return [*OPTIONS, *OTHER_NAMES]
