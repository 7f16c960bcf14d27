"""What an infotext says of an animation, in the old extension's form, whatever writes it.

``AnimateDiff: "model: x.safetensors, video_length: 16, …"``, with everything resolved. Settings that the old
extension does not have stand in a second entry, so that its parser still reads the first.

A value stands as it is, commas and colons included. Only one that could be taken for further pairs, or for a quoted
one, is quoted as in JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from animatediff_ext import __version__
from animatediff_ext.params import SETTINGS, Animation, value_of
from animatediff_ext.setting import Setting, canonical

KEY = "AnimateDiff"
OWN_KEY = "AnimateDiff settings"


def entries(animation: Animation, *, is_img2img: bool, short_hash: str | None) -> dict[str, str]:
    """Both entries; the second only where there is something to say. ``animation`` must be resolved."""
    known = [s for s in SETTINGS.values() if s.infotext and s.api != "request_id"]
    parts = _pairs(animation, [s for s in known if not s.img2img_only])
    parts += [f"request_id: {animation.output.request_id}"] if animation.output.request_id else []
    parts += [f"mm_hash: {short_hash}"] if short_hash else []
    parts += _pairs(animation, [s for s in known if s.img2img_only and is_img2img])
    changed = _pairs(animation, [s for s in SETTINGS.values() if s.own_infotext and _is_said(animation, s)])
    return {
        KEY: ", ".join([*parts, f"version: {__version__}"]),
        **({OWN_KEY: ", ".join(changed)} if changed else {}),
    }


def pairs_in(entry: str) -> dict[str, str]:
    """Name → text of an entry, the old extension's too. What has none of our names is left out."""
    return {pair["name"]: _unquoted(pair["text"]) for pair in _PAIR.finditer(entry)}


def value_said(known: Setting, text: str) -> Any:
    """The value that a text in an entry means. Raises `SettingsError`."""
    return canonical(known, text.split(_AND) if known.kind is list else text)


def value_unsaid(known: Setting, said: Mapping[str, Any]) -> Any:
    """What an infotext means that does not say one of our own settings, by what it does ``said``; None where it leaves
    the setting open."""
    if known.api == "format":  # how a user saves is no part of an animation, unless somebody says so
        return None
    if known.api == "long_clips" and said.get("video_length", 0) > said.get(
        "batch_size", SETTINGS["batch_size"].default
    ):
        return "windows"  # before there were views, all long clips were made in windows
    return known.default


def _is_said(animation: Animation, known: Setting) -> bool:
    value = value_of(animation, known)
    if known.api == "format" and set(value) <= {"Frame"}:  # that is how the API answers
        return False
    said = {"video_length": animation.num_frames, "batch_size": animation.context.length}
    return value != known.default or value_unsaid(known, said) not in (None, known.default)


def _pairs(animation: Animation, known: Iterable[Setting]) -> list[str]:
    return [f"{s.api}: {_text(value_of(animation, s))}" for s in known]


def _text(value: Any) -> str:
    text = _AND.join(one for one in value if one != "Frame") if isinstance(value, tuple) else str(value)
    return json.dumps(text, ensure_ascii=False) if text.startswith('"') or _BEGIN.search(text) else text


def _unquoted(text: str) -> str:
    with suppress(ValueError):  # somebody else's quotation marks
        return json.loads(text) if text.startswith('"') else text
    return text


_AND = "+"
_NAMES = "|".join([*SETTINGS, "mm_hash", "version"])
_BEGIN = re.compile(rf", (?:{_NAMES}): ")
_PAIR = re.compile(
    rf"""
    (?: \A | ,[ ] ) (?P<name> {_NAMES} ) :[ ]
    (?P<text> "(?: \\. | [^"\\] )*" | .*? )
    (?= ,[ ] (?: {_NAMES} ) :[ ] | \Z )
    """,
    re.VERBOSE | re.DOTALL,
)
