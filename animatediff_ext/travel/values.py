"""Numbers that travel: ``0.8``, or ``0: 0.2, 8 smooth: 1, 100%: 0.5``, with the keys and easings of prompts."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from animatediff_ext.params import Animation
from animatediff_ext.travel.easing import EASINGS
from animatediff_ext.travel.places import OF_SAMPLING, Units, of_clip, place
from animatediff_ext.travel.text import TravelError

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_KEY = re.compile(rf"(?P<at>\d+(?:\.\d+)?)(?P<unit>%|s)?(?:\s+(?P<easing>[a-z]+))?\s*:\s*(?P<value>{_NUMBER})", re.I)
_EXAMPLE = "0: 0.2, 8 smooth: 1, 100%: 0.5"


@dataclass(frozen=True, kw_only=True)
class Values:
    """Keys by place, each with its value and how it goes on."""

    keys: tuple[tuple[float, float, str], ...]

    def at(self, place: float) -> float:
        """Before the first key its value, behind the last one that one's."""
        past = [key for key in self.keys if key[0] <= place]
        to_come = [key for key in self.keys if key[0] > place]
        if not past or not to_come:
            return (past or to_come)[-1 if past else 0][1]
        (start, begin, easing), (end, later, _) = past[-1], to_come[0]
        share = EASINGS[easing]((place - start) / (end - start))
        return (1 - share) * begin + share * later

    def over(self, num_places: int) -> list[float]:
        return [self.at(place) for place in range(num_places)]

    @property
    def is_constant(self) -> bool:
        return len({value for _, value, _ in self.keys}) == 1


def values_over_frames(text: str, *, name: str, num_frames: int, fps: float) -> Values:
    """Keys are frames, shares of the clip (``50%``) or times (``1.5s``). Raises `TravelError`; ``name`` is the
    setting's."""
    return _parsed(text, name, of_clip(num_frames, fps))


def values_of(text: str, animation: Animation, *, name: str) -> Values:
    """`values_over_frames` of a resolved animation."""
    return values_over_frames(text, name=name, num_frames=animation.num_frames, fps=animation.output.fps)


def values_over_sampling(text: str, *, name: str) -> Values:
    """Keys are shares of the steps: ``50%``, or as much as 0.5. Raises `TravelError`."""
    return _parsed(text, name, OF_SAMPLING, most=1.0)


def _parsed(text: str, name: str, units: Units, most: float = math.inf) -> Values:
    text = text.strip()
    if re.fullmatch(_NUMBER, text):
        return Values(keys=((0.0, float(text), "linear"),))
    keys = {}
    for part in listed(text):
        match = _KEY.fullmatch(part)
        easing = (match["easing"] or "linear").lower() if match else ""
        if not match or easing not in EASINGS or (match["unit"] and match["unit"].lower()) not in units:
            within = "" if part == text else f", with {part!r} in it"
            raise TravelError(f"{name} is {_quoted(text)}{within}: give a number, or keys {_ways(units)}.")
        at = place(match["at"], match["unit"], units)
        if at > most:
            raise TravelError(f"{name} has a key at {part.split(':')[0]}, beyond the end: give keys {_ways(units)}.")
        keys[at] = (at, float(match["value"]), easing)
    if not keys:
        raise TravelError(f"{name} is empty: give a number, or keys {_ways(units)}.")
    return Values(keys=tuple(keys[at] for at in sorted(keys)))


def listed(text: str) -> list[str]:
    """``a, b; c`` or a line each → those that are not empty."""
    return [part.strip() for part in re.split(r"[,;\n]", text) if part.strip()]


def _ways(units: Units) -> str:
    example = _EXAMPLE if "s" in units else "0%: 1, 50%: 0.5"
    return f"such as {example}; easings are {', '.join(EASINGS)}"


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:59]}…")
