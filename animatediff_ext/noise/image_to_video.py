"""Image to video by mixing the picture's latent with noise, more of it the further a frame is from the picture.

The shares are those of sd-webui-animatediff: frame i keeps 1 - i^power / scale of the first picture, and with a last
picture the same counted from the end.

Axes: f frames, c channels, h height, w width.
"""

from __future__ import annotations

import torch


def keep_shares(num_frames: int, *, power: float, scale: float) -> torch.Tensor:
    """How much of the picture each frame keeps, ``(f,)`` in 0…1, falling from 1 at frame 0."""
    i = torch.arange(num_frames, dtype=torch.float32)
    return (1 - i**power / scale).clamp(min=0)


def between_pictures(
    first: torch.Tensor,
    noise: torch.Tensor,
    first_share: torch.Tensor,
    last: torch.Tensor | None = None,
    last_share: torch.Tensor | None = None,
) -> torch.Tensor:
    """Latents ``(f, c, h, w)`` that start at ``first`` and, where it is given, end at ``last``.

    ``first`` is ``(f, c, h, w)`` or ``(1, c, h, w)``, ``noise`` is ``(f, c, h, w)``, ``last`` is ``(1, c, h, w)``.
    The shares are ``(f,)``, counted from the first frame for both pictures; where they would sum to more than one
    they are scaled down together, and the first and last frame are the pictures themselves.
    """
    if last is None:
        last, last_share = torch.zeros_like(first[:1]), torch.zeros_like(first_share)
    else:
        total = (first_share + last_share).clamp(min=1)
        first_share, last_share = first_share / total, last_share / total
        if len(first_share) > 1:
            first_share[0], last_share[0] = 1, 0
            first_share[-1], last_share[-1] = 0, 1
    a, b = (share.to(noise).view(-1, 1, 1, 1) for share in (first_share, last_share))
    return first * a + last * b + noise * (1 - a - b)
