"""Weights of words, as the WebUI's users write them: ``(word:1.2)``, ``(word)``, ``[word]``.

A round bracket weighs 1.1 times, a square one 1/1.1 times, brackets in brackets multiply, and a backslash in front of a
bracket makes it a letter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

OPENING = {"(": 1.1, "[": 1 / 1.1}
CLOSING = {")": "(", "]": "["}
_TOKEN = re.compile(r"\\[()\[\]\\]|[()\[\]]|[^\\()\[\]]+|\\")
_GIVEN = re.compile(r"^(?P<text>.*):\s*(?P<weight>[+-]?\d*\.?\d+)\s*$", re.DOTALL)

Weighed = tuple[str, float]


@dataclass
class _Open:
    """A bracket that is still open, and what is in it so far."""

    sign: str
    pieces: list[Weighed] = field(default_factory=list)


def weighed(prompt: str) -> list[Weighed]:
    """Pieces of text with their weights, in order. Brackets that are never closed still count to the end."""
    stack, before = [_Open("")], ""
    for token in _TOKEN.findall(prompt):
        if token in OPENING:
            stack.append(_Open(token))
        elif token in CLOSING and stack[-1].sign == CLOSING[token]:
            _close(stack, weight_said=token == ")" and before not in CLOSING)
        else:
            stack[-1].pieces.append((token[1:] if len(token) == 2 and token[0] == "\\" else token, 1.0))
        before = token
    while len(stack) > 1:
        _close(stack, weight_said=False)
    return _joined(stack[0].pieces)


def _close(stack: list[_Open], *, weight_said: bool) -> None:
    """``weight_said``: the weight may stand at the end of what is in the bracket."""
    bracket = stack.pop()
    pieces, factor = bracket.pieces, OPENING[bracket.sign]
    last = _GIVEN.fullmatch(pieces[-1][0]) if pieces and weight_said else None
    if last:
        pieces, factor = [*pieces[:-1], (last["text"], pieces[-1][1])], float(last["weight"])
    stack[-1].pieces += [(text, weight * factor) for text, weight in pieces]


def _joined(pieces: list[Weighed]) -> list[Weighed]:
    """Neighbours of the same weight as one, so that words are not torn."""
    found: list[Weighed] = []
    for text, weight in pieces:
        if found and found[-1][1] == weight:
            found[-1] = (found[-1][0] + text, weight)
        elif text:
            found.append((text, weight))
    return found or [("", 1.0)]
