"""Fields of one ``p`` that were changed for an animation, and what they were.

Scripts such as *Loopback* process the same ``p`` again and again, and others process copies of it. So what an animation
changed is noted on ``p`` itself, where a copy finds it too.
"""

from __future__ import annotations

from typing import Any

_NOTES = "animatediff_changes"
_ABSENT = object()


def change(p, **fields: Any) -> None:
    """Set attributes of this one object, and note what it had of its own."""
    notes = p.__dict__.setdefault(_NOTES, {})
    for name, value in fields.items():
        notes.setdefault(name, p.__dict__.get(name, _ABSENT))
        setattr(p, name, value)


def undo(p) -> None:
    """Give every changed attribute its value back."""
    for name, value in p.__dict__.pop(_NOTES, {}).items():
        if value is _ABSENT:
            p.__dict__.pop(name, None)  # the class's own shows again
        else:
            setattr(p, name, value)
