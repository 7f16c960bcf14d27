"""The text of a prompt that travels.

    a cat, masterpiece          lines before the first key stand in front of every prompt
    0: asleep                   what the prompt is at this frame
    50% smooth: (yawning:0→1.2) a key may be a frame, a share of the clip or a time (1.5s), and say how it goes on
    12:awake
    soft light                  lines after the last key are put after every prompt

The grammar of sd-webui-animatediff (frame, colon, blank, text) is a part of this one.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from animatediff_ext.setting import SettingsError
from animatediff_ext.travel.easing import EASINGS
from animatediff_ext.travel.places import of_clip, place

ARROWS = ("→", "->")


class TravelError(SettingsError):
    """A prompt that travels cannot be understood. The message is one sentence for the user."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key as it is written."""

    at: float
    """Frame, which may lie between two."""
    text: str
    easing: str
    line: int
    """In the prompt, counted from 1."""


@dataclass(frozen=True, kw_only=True)
class TravelText:
    """A prompt, taken apart."""

    head: tuple[str, ...]
    keys: tuple[Key, ...]
    """By time; none: an ordinary prompt."""
    tail: tuple[str, ...]
    notes: tuple[str, ...]
    """Sentences on what may not be meant as it was understood."""

    def prompt(self, text: str) -> str:
        """What one key makes of the whole prompt."""
        return ", ".join(part for part in (*self.head, text, *self.tail) if part)


_KEY = re.compile(
    r"(?P<number>\d+(?:\.\d+)?)(?P<unit>%|s)?(?:[ \t]+(?P<easing>[a-z]+))?[ \t]*:(?P<text>.*)", re.IGNORECASE
)
_ALMOST = re.compile(
    r"(?P<number>-?\d+(?:[.,]\d+)?)\s*(?:%|s|f|frames?|sec)?\s*(?:[=;]|[-=]>|：|:)\s*\S", re.IGNORECASE
)
"""What people write instead of a key: other signs than a colon, a comma in the number, a minus before it."""

_MISSPELT = 0.8
"""How like an easing a word is that is meant for one: "steps" is 0.9 of "step", "style" 0.7."""

_NUMBER = r"\s*(-?\d*\.?\d+)\s*"
_RAMP = re.compile(rf":{_NUMBER}(?:{'|'.join(ARROWS)}){_NUMBER}\)")
_ONLY_TAGS = re.compile(r"(?:<\w+:(?:->|[^<>\n])+>[\s,]*)+")


def taken_apart(prompt: str, *, num_frames: int, fps: float) -> TravelText:
    """Raises `TravelError` where a key of a prompt that travels says something that it cannot say."""
    head, keys, tail, notes, problems = [], {}, [], [], []
    for number, line in enumerate(map(str.strip, prompt.split("\n")), start=1):
        if not line.strip(", "):
            continue
        if _ONLY_TAGS.fullmatch(line):  # the WebUI takes them out, wherever they stand
            head.append(line)
            continue
        try:
            key = _key(line, number, num_frames, fps)
        except TravelError as problem:
            problems.append(problem)
            key = None
        if key and not tail:
            if key.at in keys:
                notes.append(second_key(number, key.at))
            keys[key.at] = key
            continue
        if key:
            notes.append(f"Line {number} ({_short(line)}) is a key, but comes after a line that is none: move it up.")
        elif _ALMOST.match(line) and "\n" in prompt.strip():
            notes.append(f"Line {number} ({_short(line)}) looks like a key, but is none: write it as 12: text.")
        if _RAMP.search(line):
            notes.append(f"Line {number} ({_short(line)}) has a weight that travels, but only those of keys can.")
        (tail if keys else head).append(line.strip(", "))
    if keys and problems:
        raise problems[0]
    ordered = tuple(keys[at] for at in sorted(keys))
    notes += [_beyond(key, num_frames) for key in ordered if key.at >= num_frames]
    return TravelText(head=tuple(head), keys=ordered, tail=tuple(tail), notes=tuple(notes))


def second_key(line: int, at: float) -> str:
    """What is said of two keys for one frame."""
    return f"Line {line} is a second key for frame {at:g}: the later one counts."


def _beyond(key: Key, num_frames: int) -> str:
    return f"The key of line {key.line} is at frame {key.at:g}, but the last frame is {num_frames - 1}."


def _key(line: str, number: int, num_frames: int, fps: float) -> Key | None:
    """Raises `TravelError` for what is perhaps a key, with a misspelt easing."""
    match = _KEY.fullmatch(line)
    if not match:
        return None
    text, easing = match["text"], (match["easing"] or "linear").lower()
    if text[:1].isdigit():  # 16:9 is a shape of pictures
        return None
    if easing not in EASINGS:
        near = difflib.get_close_matches(easing, EASINGS, n=1, cutoff=_MISSPELT)
        if not near:  # "2 cats: one red, one blue" is a prompt, and so is "90s style: neon city"
            return None
        raise TravelError(
            f"Line {number} ({_short(line)}) goes on {easing!r}: choose from {', '.join(EASINGS)}; perhaps {near[0]}?"
        )
    at = place(match["number"], match["unit"], of_clip(num_frames, fps))
    return Key(at=at, text=text.strip().strip(","), easing=easing, line=number)


def _short(line: str, most: int = 30) -> str:
    return line if len(line) <= most else f"{line[: most - 1]}…"


def ramp_ends(text: str) -> tuple[str, str]:
    """``(smile:0→1.2)`` at its beginning, ``(smile:0)``, and at its end, ``(smile:1.2)``; the same where none is."""
    return _RAMP.sub(r":\1)", text), _RAMP.sub(r":\2)", text)
