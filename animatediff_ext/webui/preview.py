"""What a prompt that travels tells each frame, drawn for the page before anything is generated."""

from __future__ import annotations

import html
from collections.abc import Sequence
from itertools import takewhile

from animatediff_ext.params import Animation, from_api
from animatediff_ext.setting import SettingsError
from animatediff_ext.travel import Travel, travel_of
from animatediff_ext.webui.status_line import status_line
from animatediff_ext.webui.travel import without_comments, without_tags

DEPENDS_ON = ("video_length", "fps", "closed_loop", "batch_size", "old_numerics")
"""The settings that decide which frame a key stands for."""
HINT = (
    "<p>Lines such as <code>0: a cat</code>, <code>50% smooth: a dog</code> or <code>1.5s: a bird</code> in the prompt "
    "say what it is at a frame; frames between two of them lie between their prompts. They are drawn here.</p>"
)
MOST_FRAMES_READ = 10_000
"""Of longer clips the page says nothing about the prompt."""
_MOST_FRAMES = 120
"""That are drawn; of longer clips as many, evenly spread."""
_BETWEEN = ", "
"""Parts of a prompt."""


def drawn(*values) -> str:
    """HTML for the prompt, the negative prompt, and the values of `DEPENDS_ON`."""
    prompts, settings = values[: -len(DEPENDS_ON)], values[-len(DEPENDS_ON) :]
    given = dict(zip(DEPENDS_ON, settings, strict=True))
    try:
        animation = from_api({name: value for name, value in given.items() if value is not None})[0].resolved()
        if animation.num_frames > MOST_FRAMES_READ:
            return status_line(f"{animation.num_frames} frames are too many to be drawn.")
        travels = travels_of(prompts, animation)
    except SettingsError as problem:
        return status_line(str(problem))
    parts = [_chart(travel) for travel in travels if travel.travels]
    notes = [status_line(note) for travel in travels for note in travel.notes]
    return "".join([*parts, *notes]) or HINT


def travels_of(prompts: Sequence[str | None], animation: Animation) -> list[Travel]:
    """Of prompts as they stand in the page. Raises `TravelError`."""
    return [travel_of(without_tags(without_comments(prompt or "")), animation) for prompt in prompts]


def _chart(travel: Travel) -> str:
    """A row for each prompt, a cell for each frame: the darker, the more it counts."""
    number = len(travel.frames)
    every = max(1, -(-number // _MOST_FRAMES))
    frames = range(0, number, every)
    rows = [
        f"<tr><th scope='row' title='{html.escape(prompt)}'>{html.escape(label)}</th>"
        + "".join(_cell(frame, travel.frames[frame].weights.get(prompt, 0.0)) for frame in frames)
        + "</tr>"
        for prompt, label in zip(travel.prompts, _told_apart(travel.prompts), strict=True)
    ]
    caption = f"{len(travel.keys)} keys over {number} frames"
    return f"<table class='animatediff-travel'><caption>{caption}</caption><tbody>{''.join(rows)}</tbody></table>"


def _told_apart(prompts: Sequence[str]) -> list[str]:
    """Prompts without what all of them begin and end with: a row's name has little room, and shows what is its own."""
    parts = [prompt.split(_BETWEEN) for prompt in prompts]
    if len(parts) < 2:
        return list(prompts)
    head = _in_common(parts)
    own = [part[head:] for part in parts]
    tail = _in_common([part[::-1] for part in own])
    own = [part[: len(part) - tail] for part in own]
    return [" ".join(filter(None, ("…" * bool(head), _BETWEEN.join(part), "…" * bool(tail)))) for part in own]


def _in_common(several: Sequence[Sequence[str]]) -> int:
    """How many things all of them begin with."""
    return sum(1 for _ in takewhile(lambda column: len({*column}) == 1, zip(*several)))  # noqa: B905


def _cell(frame: int, share: float) -> str:
    title = f"frame {frame}: {share:.0%}"
    return f"<td title='{title}' style='background: rgba(64, 128, 255, {share:.3f})'></td>"
