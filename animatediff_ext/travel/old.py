"""Prompts that travel as sd-webui-animatediff has them, for those who have to make one of its videos again.

Its keys are ``12: text`` and nothing else, lines stay as they are written, and what lies between two keys is found for
the whole conditioning at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from animatediff_ext.travel.text import Key, TravelError, TravelText, second_key

_KEY = re.compile(r"(\d+): (.+)")
_NEARLY_PARALLEL = 0.9995


@dataclass(frozen=True, kw_only=True)
class OldText(TravelText):
    """A prompt in whose key prompts nothing is tidied up: commas meet where a line ends with one, or where there is no
    line before the first key or behind the last one."""

    def prompt(self, text: str) -> str:
        return f"{', '.join(self.head)}, {text}, {', '.join(self.tail)}"


def taken_apart_as_of_old(prompt: str, *, num_frames: int) -> OldText:
    """Raises `TravelError` for a key beyond the end, and for keys that do not ascend, which the old extension refused.

    Source: scripts/animatediff_prompt.py, `parse_prompt`.
    """
    head, keys, tail, notes = [], {}, [], []
    for number, line in enumerate(prompt.strip().split("\n"), start=1):
        match = _KEY.fullmatch(line)
        is_over = bool(tail) or (not match and (keys or re.match(r"\d+:", line)))
        if is_over:
            tail.append(line)
        elif not match:
            head.append(line)
        else:
            notes += [second_key(number, int(match[1]))] if int(match[1]) in keys else []
            keys[int(match[1])] = Key(at=int(match[1]), text=match[2], easing="linear", line=number)
    _check(list(keys.values()), num_frames)
    return OldText(head=tuple(head), keys=tuple(keys.values()), tail=tuple(tail), notes=tuple(notes))


def _check(keys: list[Key], num_frames: int) -> None:
    for before, key in zip([None, *keys], keys, strict=False):
        if key.at >= num_frames:
            raise TravelError(
                f"Line {key.line} is a key at frame {key.at:g}, but the last frame is {num_frames - 1}: with Old "
                "numerics keys lie within the clip."
            )
        if before and before.at >= key.at:
            raise TravelError(
                f"Line {key.line} is a key at frame {key.at:g} behind one at {before.at:g}: with Old numerics they "
                "ascend."
            )


def slerp_as_a_whole(start: torch.Tensor, end: torch.Tensor, share: float) -> torch.Tensor:
    """Along the arc between two tensors that are taken as one long vector each, which prompts as like as those of a
    clip hardly have. Lengths are not blended by themselves.

    Source: scripts/animatediff_prompt.py, `slerp`.
    """
    cosine = ((start / start.norm()) * (end / end.norm())).sum()
    if cosine.abs() > _NEARLY_PARALLEL:
        return (1 - share) * start + share * end
    angle = cosine.acos()
    return (((1 - share) * angle).sin() * start + (share * angle).sin() * end) / angle.sin()
