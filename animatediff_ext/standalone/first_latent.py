"""Image to video: the latents that a clip starts from, as the WebUI's img2img makes them.

Of a single picture every frame starts between it and noise, or a last picture; a video starts frame by frame.

Axes: f frames, c channels, h height, w width.
"""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange

from animatediff_ext.noise import between_pictures, keep_shares, seed_offsets
from animatediff_ext.params import ImageToVideo
from animatediff_ext.standalone.sampling import seeded_frames
from animatediff_ext.standalone.spatial import SpatialModel


def first_latents(
    spatial: SpatialModel,
    pictures: np.ndarray,
    last: np.ndarray | None,
    *,
    settings: ImageToVideo,
    num_frames: int,
    seed: int,
) -> torch.Tensor:
    """Latents ``(f c h w)`` float32, on the VAE's device.

    ``pictures`` is uint8 ``f h w 3``, one or ``num_frames`` of them; ``last`` is the same, one picture or none, and
    counts for a single picture only.
    """
    latents = encoded_pictures(spatial, pictures)
    if len(pictures) > 1:
        assert len(pictures) == num_frames, (len(pictures), num_frames)
        return latents
    shares = keep_shares(num_frames, power=settings.latent_power, scale=settings.latent_scale)
    noise = seeded_frames(seed + seed_offsets.PICTURE, num_frames, tuple(latents.shape[1:]))[0].to(latents)
    if last is None:
        return between_pictures(latents, noise, shares)
    last_shares = keep_shares(num_frames, power=settings.latent_power_last, scale=settings.latent_scale_last).flip(0)
    return between_pictures(latents, noise, shares, encoded_pictures(spatial, last), last_shares)


def encoded_pictures(spatial: SpatialModel, pictures: np.ndarray) -> torch.Tensor:
    """uint8 ``f h w 3`` → latents ``(f c h w)`` float32: the mean of what the VAE says, so that nothing is random."""
    pixels = rearrange(torch.from_numpy(pictures), "f h w c -> f c h w").float() / 127.5 - 1
    return spatial.encode_frames(pixels)[0].float()
