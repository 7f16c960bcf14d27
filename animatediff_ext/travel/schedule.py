"""Keys → what every frame is told, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from animatediff_ext.params import Animation
from animatediff_ext.travel.easing import EASINGS
from animatediff_ext.travel.old import taken_apart_as_of_old
from animatediff_ext.travel.text import Key, TravelText, ramp_ends, taken_apart

Weighted = tuple[tuple[str, float], ...]
"""Prompts, and what each of them counts. Together they count 1."""


@dataclass(frozen=True, kw_only=True)
class FramePrompt:
    """One frame: on the way from one prompt to another. Each of the two may be a weighted pair by itself, where a
    weight in its text travels."""

    start: Weighted
    end: Weighted = ()
    share: float = 0.0
    """Of ``end``."""

    @property
    def weights(self) -> dict[str, float]:
        """What every prompt counts in a straight mean. The sum is 1."""
        found: dict[str, float] = {}
        for side, share in ((self.start, 1 - self.share), (self.end, self.share)):
            for prompt, weight in side:
                if weight * share:
                    found[prompt] = found.get(prompt, 0.0) + weight * share
        return found


@dataclass(frozen=True, kw_only=True)
class Travel:
    """A prompt for a whole clip."""

    frames: tuple[FramePrompt, ...]
    keys: tuple[Key, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def travels(self) -> bool:
        return bool(self.keys)

    @property
    def prompts(self) -> tuple[str, ...]:
        """Every prompt that is needed, once, in the order of the frames."""
        return tuple(dict.fromkeys(prompt for frame in self.frames for prompt in frame.weights))


def parse_travel(prompt: str, *, num_frames: int, fps: float = 8.0, closed: bool = False) -> Travel:
    """What the frames of a clip are told; a prompt without keys is told to all.

    Frames before the first key have its prompt, those after the last one the last; with ``closed`` the last key goes
    over into the first one, as if the clip began anew. Raises `TravelError`.
    """
    return _travel(prompt, taken_apart(prompt, num_frames=num_frames, fps=fps), num_frames, closed)


def _travel(prompt: str, text: TravelText, num_frames: int, closed: bool) -> Travel:
    if not text.keys:
        return Travel(frames=(FramePrompt(start=((prompt, 1.0),)),) * num_frames, notes=text.notes)
    stops = _stops(text, num_frames, closed)
    frames = tuple(_frame(stops, frame, num_frames) for frame in range(num_frames))
    return Travel(frames=frames, keys=text.keys, notes=text.notes)


def travel_of(prompt: str, animation: Animation) -> Travel:
    """A prompt of a resolved animation. *Closed loop* R+P and A close it as well. Raises `TravelError`."""
    num_frames = animation.num_frames
    closed = animation.context.closed_loop in ("R+P", "A")
    if animation.old_numerics:  # where a clip within one context was never closed
        text = taken_apart_as_of_old(prompt, num_frames=num_frames)
        return _travel(prompt, text, num_frames, closed and num_frames > animation.context.length)
    return parse_travel(prompt, num_frames=num_frames, fps=animation.output.fps, closed=closed)


@dataclass(frozen=True)
class _Stop:
    """A key on the line of time, with its prompt at its beginning and at its end (where the next one begins)."""

    at: float
    begin: str
    end: str
    easing: str

    def prompts(self, share: float) -> Weighted:
        if self.begin == self.end or share == 0:
            return ((self.begin, 1.0),)
        return ((self.begin, 1 - share), (self.end, share)) if share < 1 else ((self.end, 1.0),)


def _stops(text: TravelText, num_frames: int, closed: bool) -> list[_Stop]:
    stops = [_Stop(key.at, *map(text.prompt, ramp_ends(key.text)), key.easing) for key in text.keys]
    within = [stop for stop in stops if stop.at < num_frames]
    if closed and within:  # what lies beyond the end has no place in a loop
        stops, first, last = within, within[0], within[-1]
        before = _Stop(last.at - num_frames, last.begin, last.end, last.easing)
        after = _Stop(first.at + num_frames, first.begin, first.end, first.easing)
        return [before, *stops, after]
    return stops


def _frame(stops: list[_Stop], frame: int, num_frames: int) -> FramePrompt:
    past = [stop for stop in stops if stop.at <= frame]
    to_come = [stop for stop in stops if stop.at > frame]
    if not past:
        return FramePrompt(start=to_come[0].prompts(0))
    here = past[-1]
    if not to_come:  # what travels in the last prompt arrives with the last frame
        left = max(num_frames - 1 - here.at, 1e-9)
        return FramePrompt(start=here.prompts(min(1.0, (frame - here.at) / left)))
    u = (frame - here.at) / (to_come[0].at - here.at)
    share = EASINGS[here.easing](u)
    return FramePrompt(start=here.prompts(u), end=to_come[0].prompts(0), share=share)
