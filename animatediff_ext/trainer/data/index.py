"""What was seen in clips, kept in a file, so that a second start reads no video."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

from animatediff_ext.media import Timeline
from animatediff_ext.trainer.data.clip import Clip, Seen
from animatediff_ext.whole_file import whole_file

_VERSION = 1

Index = Mapping[str, Seen]
"""`key_of` a clip → what was seen in it."""


def key_of(clip: Clip, file_size: int, modified_ns: int) -> str:
    """Another one for another file, and for the same file once it has changed."""
    return json.dumps([clip.path, clip.place, file_size, modified_ns])


def read_index(path: Path) -> dict[str, Seen]:
    """What is in the file; nothing if it is missing, damaged or of another version."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != _VERSION:
            return {}
        return {key: _seen(key, entry) for key, entry in content["clips"].items()}
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return {}


def write_index(path: Path, index: Index) -> None:
    """Replace the file. Raises ``OSError``."""
    content = {"version": _VERSION, "clips": {key: _entry(seen) for key, seen in index.items()}}
    with whole_file(path) as part:
        part.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")


def _entry(seen: Seen) -> list:
    line = seen.timeline
    return [seen.width, seen.height, line.start, line.steps, str(line.ticks_per_second), line.counted]


def _seen(key: str, entry: list) -> Seen:
    width, height, start, steps, ticks_per_second, counted = entry
    _, _, file_size, modified_ns = json.loads(key)
    timeline = Timeline(start, tuple((step, repeats) for step, repeats in steps), Fraction(ticks_per_second), counted)
    return Seen(width=width, height=height, timeline=timeline, file_size=file_size, modified_ns=modified_ns)
