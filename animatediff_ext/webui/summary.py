"""What the page says of its fields as they stand: a summary for the closed accordion, how long the video plays, and
which fields make no difference, with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import PurePath
from typing import Any

from animatediff_ext.animate import check_positions
from animatediff_ext.formats import describe
from animatediff_ext.formats.describe import ModuleInfo
from animatediff_ext.params import SETTINGS, Animation, from_api
from animatediff_ext.save import as_played
from animatediff_ext.setting import SettingsError
from animatediff_ext.webui import models, preview
from animatediff_ext.webui.errors import EXPECTED, AnimateDiffError

DEPENDS_ON = (
    *("enable", "model", "video_length", "fps", "closed_loop", "batch_size", "overlap", "format", "interp", "interp_x"),
    *("noise_kind", "second_model", "freeinit_enable", "old_numerics", "long_clips"),
    *("motion_start", "motion_end", "motion_positions"),
)
"""Settings, behind the prompts."""
_OF_WINDOWS = ("stride", "overlap", "context_schedule", "context_weights", "long_clips")
_LOOPING = {"GIF", "WEBP"}
"""Formats that say how often they are to be shown."""
_BETWEEN = " · "


def facts(*values: Any) -> tuple[dict[str, Any], str]:
    """For javascript/accordion.js, and the line on the duration. Takes the prompts, then values of `DEPENDS_ON`.

    ``summary`` is empty with AnimateDiff off; ``problem`` says if it stands for a mistake; ``idle`` has a reason for
    every field, by element id, that changes nothing.
    """
    prompts, given = values[: -len(DEPENDS_ON)], values[-len(DEPENDS_ON) :]
    chosen = {name: value for name, value in zip(DEPENDS_ON, given, strict=True) if value is not None}
    try:
        asked = from_api(chosen)[0]
        animation = asked.resolved()
        if animation.enabled:
            _check_positions(animation)
        line = " at ".join(_duration(animation))
        summary = _BETWEEN.join(_parts(animation, prompts)) if animation.enabled else ""
    except (SettingsError, *EXPECTED) as problem:
        on = chosen.get("enable") is True
        return {"summary": f"⚠ {problem}" if on else "", "problem": on, "idle": {}}, ""
    idle = {SETTINGS[name].elem_id: reason for name, reason in idle_fields(animation)}
    return {"summary": summary, "problem": False, "idle": idle}, f"<p class='animatediff-duration'>{line}</p>"


def idle_fields(animation: Animation) -> Iterator[tuple[str, str]]:
    """API names of settings that change nothing as the others stand, and why. ``animation`` is a resolved one."""
    context, output = animation.context, animation.output
    if animation.num_frames <= context.length:
        reason = f"no effect: {animation.num_frames} frames fit one context of {context.length}"
        yield from ((name, reason) for name in _OF_WINDOWS)
        if context.closed_loop == "R-P":
            yield "closed_loop", "no effect: R-P loops videos of more than one context; A plays this one back"
    if output.interpolation == "Off":
        yield "interp_x", "no effect: Frame Interpolation is Off"
    if not _LOOPING & {*output.formats}:
        yield "loop_number", "no effect: only GIF and WEBP files have it"
    if "GIF" not in output.formats:
        yield from ((name, "no effect: no GIF is made") for name in ("gif_max_mb", "gif_max_width"))
    if animation.noise.kind != "mixed":
        yield "noise_share", f"no effect: Noise is {animation.noise.kind}"
    if not animation.motion.second_module:
        yield "second_model_share", "no effect: there is no second motion module"
    if not animation.free_init.enabled:
        names = [name for name, known in SETTINGS.items() if known.path.startswith("free_init.")]
        yield from ((name, "no effect: FreeInit is off") for name in names if name != "freeinit_enable")


def _parts(animation: Animation, prompts: Sequence[str | None]) -> Iterator[str]:
    yield f"{animation.num_frames} frames"
    yield f"{animation.output.fps:g} fps"
    yield _duration(animation)[1].rpartition(": ")[2]
    yield _module(animation.motion_module)
    if animation.num_frames <= preview.MOST_FRAMES_READ:
        keys = [str(len(travel.keys)) for travel in preview.travels_of(prompts, animation) if travel.travels]
        if keys:
            yield f"travel {' + '.join(keys)} keys"


def _duration(animation: Animation) -> tuple[str, str]:
    """("16 frames", "8 fps: 2 s"), as the files play: played back to close a loop, with interpolated frames."""
    played, fps = as_played(range(animation.num_frames), animation)
    return f"{len(played)} frames", f"{fps:g} fps: {round(len(played) / fps, 2):g} s"


def _module(name: str) -> str:
    """ "mm v3"; the file's own name where it is none that is known."""
    known = _described(name)
    family = known.family if known else None
    return f"mm {family}" if family else PurePath(name).stem or "no motion module"


def _check_positions(animation: Animation) -> None:
    """Raises `SettingsError`; what is no motion module is said elsewhere."""
    for name in filter(None, [animation.motion_module, animation.motion.second_module]):
        known = _described(name)
        if known and known.is_motion_module:
            check_positions(animation, known.num_positions, f"the motion module ({known.title})")


def _described(name: str) -> ModuleInfo | None:
    """None if there is no such file, or none that can be read."""
    try:
        path = models.find(name)
        return _read(str(path), path.stat().st_mtime_ns)
    except (AnimateDiffError, *EXPECTED, OSError):
        return None


@lru_cache(maxsize=8)  # asked with every change of a field
def _read(path: str, _modified: int) -> ModuleInfo:
    return describe(path)
