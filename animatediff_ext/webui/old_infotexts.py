"""Infotexts of the old extension from before they were pairs: v1.9.2 and v1.9.3 wrote a dictionary.

``AnimateDiff: {"model": "mm_sd_v15_v2.ckpt", "video_length": 16, …, "mm_hash": "69ed0f5f"}``, of which the WebUI hands
over the beginning, up to the first comma.
"""

from __future__ import annotations

import json
from typing import Any

from animatediff_ext.infotext import KEY
from animatediff_ext.params import SETTINGS

_BEGIN = f"{KEY}: {{"


def as_pairs(infotext: str) -> str | None:
    """The dictionary of a whole infotext as the pairs of later ones; None where there is none."""
    entries = infotext.strip().rpartition("\n")[2]
    _, begin, rest = entries.partition(_BEGIN)
    if not begin:
        return None
    try:
        values, _ = json.JSONDecoder().raw_decode("{" + rest)
    except ValueError:  # cut off
        return None
    return ", ".join(f"{name}: {_text(value)}" for name, value in values.items() if name in SETTINGS)


def _text(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
