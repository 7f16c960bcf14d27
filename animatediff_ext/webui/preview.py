"""What a prompt that travels tells each frame, drawn for the page before anything is generated."""

from __future__ import annotations

import html

from animatediff_ext.params import from_api
from animatediff_ext.setting import SettingsError
from animatediff_ext.travel import Travel, travel_of

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


def drawn(*values) -> str:
    """HTML for the prompt, the negative prompt, and the values of `DEPENDS_ON`."""
    prompts, settings = values[: -len(DEPENDS_ON)], values[-len(DEPENDS_ON) :]
    given = dict(zip(DEPENDS_ON, settings, strict=True))
    try:
        animation = from_api({name: value for name, value in given.items() if value is not None})[0].resolved()
        if animation.num_frames > MOST_FRAMES_READ:
            return _line(f"{animation.num_frames} frames are too many to be drawn.")
        travels = [travel_of(prompt or "", animation) for prompt in prompts]
    except SettingsError as problem:
        return _line(str(problem))
    parts = [_chart(travel) for travel in travels if travel.travels]
    notes = [_line(note) for travel in travels for note in travel.notes]
    return "".join([*parts, *notes]) or HINT


def _chart(travel: Travel) -> str:
    """A row for each prompt, a cell for each frame: the darker, the more it counts."""
    number = len(travel.frames)
    every = max(1, -(-number // _MOST_FRAMES))
    frames = range(0, number, every)
    rows = [
        f"<tr><th scope='row'>{html.escape(prompt)}</th>"
        + "".join(_cell(frame, travel.frames[frame].weights.get(prompt, 0.0)) for frame in frames)
        + "</tr>"
        for prompt in travel.prompts
    ]
    caption = f"{len(travel.keys)} keys over {number} frames"
    return f"<table class='animatediff-travel'><caption>{caption}</caption><tbody>{''.join(rows)}</tbody></table>"


def _cell(frame: int, share: float) -> str:
    title = f"frame {frame}: {share:.0%}"
    return f"<td title='{title}' style='background: rgba(64, 128, 255, {share:.3f})'></td>"


def _line(text: str) -> str:
    return f"<p class='animatediff-status'>⚠ {html.escape(text)}</p>"
