"""Between two conditionings.

Axes: n tokens, c channels. A conditioning is ``(n c)``, a pooled one ``(c)``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from animatediff_ext.params import Animation
from animatediff_ext.travel.old import slerp_as_a_whole
from animatediff_ext.travel.schedule import FramePrompt, Weighted

Blend = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]
"""``blend(start, end, share) -> `` what lies between them, ``share`` of the way to ``end``."""

_NEARLY_PARALLEL = 0.9995
"""Cosine above which an arc cannot be told from a line (and its sine not from 0)."""
_NO_LENGTH = 1e-6
"""A token of weight 0 has no direction, and so no arc leads to it."""


def lerp(start: torch.Tensor, end: torch.Tensor, share: float) -> torch.Tensor:
    """Along the straight line."""
    return torch.lerp(start, end, share)


def slerp(start: torch.Tensor, end: torch.Tensor, share: float) -> torch.Tensor:
    """Along the arc, token by token; lengths go linearly.

    Source: Shoemake, "Animating rotation with quaternion curves", 1985.
    """
    one, other = start.float(), end.float()
    length, other_length = (x.norm(dim=-1, keepdim=True) for x in (one, other))
    cosine = (one * other).sum(-1, keepdim=True) / (length * other_length).clamp(min=1e-12)
    angle = cosine.clamp(-1, 1).acos()
    weights = ((1 - share) * angle).sin(), (share * angle).sin()
    direction = (weights[0] * one / length.clamp(min=1e-12) + weights[1] * other / other_length.clamp(min=1e-12)) / (
        angle.sin().clamp(min=1e-12)
    )
    arc = direction * torch.lerp(length, other_length, share)
    straight = torch.lerp(one, other, share)
    no_arc = (cosine.abs() > _NEARLY_PARALLEL) | (length < _NO_LENGTH) | (other_length < _NO_LENGTH)
    return torch.where(no_arc, straight, arc).to(start.dtype)


BLENDS: dict[str, Blend] = {"lerp": lerp, "slerp": slerp}


def blends_of(animation: Animation) -> tuple[Blend, Blend]:
    """That of tokens, and that of a pooled vector: along the line, which leaves alone what two prompts share there."""
    return (slerp_as_a_whole, slerp_as_a_whole) if animation.old_numerics else (BLENDS[animation.prompt_blend], lerp)


def blended(frame: FramePrompt, encoded: Callable[[str], torch.Tensor], blend: Blend) -> torch.Tensor:
    """The conditioning of one frame. ``encoded`` gives that of a prompt; all of one shape."""
    if frame.share in (0, 1):  # what counts nothing is not encoded
        return _mean(frame.end if frame.share else frame.start, encoded)
    return blend(_mean(frame.start, encoded), _mean(frame.end, encoded), frame.share)


def _mean(prompts: Weighted, encoded: Callable[[str], torch.Tensor]) -> torch.Tensor:
    """A weight in a text moves its tokens along a line."""
    total = None
    for prompt, weight in prompts:
        part = encoded(prompt) if weight == 1 else weight * encoded(prompt)
        total = part if total is None else total + part
    return total
