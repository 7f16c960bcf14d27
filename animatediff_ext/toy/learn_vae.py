"""The toy VAE, from pictures of every look that there is.

Axes: b pictures, c channels, h height, w width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from animatediff_ext.toy.clips import with_defect
from animatediff_ext.toy.draw import LOOKS, draw_all
from animatediff_ext.toy.fit import Plan, fit
from animatediff_ext.toy.networks import new_vae
from animatediff_ext.toy.scene import random_scene
from animatediff_ext.trainer.keyed import generator

BATCH = 4
KL_WEIGHT = 1e-4
"""Of each latent number, so that latents next to each other decode to similar pictures."""
FOREGROUND_WEIGHT = 8.0
"""Most of a picture is plain ground; without this the shapes stay blobs for long."""
CROWD = 2
"""Shapes in a picture, at most: there is more to learn from a crowd, in the same time."""


def learn_vae(seed: int, plan: Plan, folder: Path) -> AutoencoderKL:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = new_vae()

    def loss(step: int) -> torch.Tensor:
        pixels = training_pictures(seed, step)
        posterior = vae.encode(pixels).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator(seed, step, "posterior"))
        error = vae.decode(posterior.mean + posterior.std * noise).sample - pixels
        weight = 1 + (FOREGROUND_WEIGHT - 1) * foreground(pixels)
        return (weight * (error.abs() + error.square())).mean() + KL_WEIGHT * posterior.kl().mean() / noise[0].numel()

    fit("vae", vae, loss, plan, folder)
    whiten(vae, torch.cat([training_pictures(seed, -i, looks=["paper"], most=1) for i in range(1, 129)]))
    return vae


def training_pictures(
    seed: int, step: int, looks: Sequence[str] = ("paper", *LOOKS, "video"), most: int = CROWD
) -> torch.Tensor:
    """Pixels ``(b 3 h w)`` from -1 to 1, of any of these looks, with up to ``most`` shapes in each."""
    random = np.random.default_rng([seed, step % 2**32])
    pictures = []
    for _ in range(BATCH):
        look = str(random.choice(looks))
        scenes = [random_scene(random) for _ in range(random.integers(1, most + 1))]
        pictures.append(with_defect(draw_all(scenes, "paper")) if look == "video" else draw_all(scenes, look))
    return as_pixels(np.stack(pictures))


def as_pixels(pictures: np.ndarray) -> torch.Tensor:
    """uint8 ``(b h w 3)`` → ``(b 3 h w)`` from -1 to 1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1


def foreground(pixels: torch.Tensor) -> torch.Tensor:
    """1 where a picture is not as its ground is, ``(b 1 h w)``."""
    ground = pixels.flatten(2).median(dim=2).values[:, :, None, None]
    return ((pixels - ground).abs().amax(dim=1, keepdim=True) > 0.03).float()


@torch.no_grad()
def whiten(vae: AutoencoderKL, pixels: torch.Tensor) -> None:
    """Let every channel of the scaled latents of these pictures have mean 0 and variance 1.

    The layers at the border of the latents take the change up, so that the VAE as a whole stays what it is.
    """
    latents = torch.cat([vae.encode(part).latent_dist.mean for part in pixels.split(64)])
    mean = latents.mean(dim=(0, 2, 3))
    std = latents.std(dim=(0, 2, 3)) * vae.config.scaling_factor
    decode, encode = vae.post_quant_conv, vae.quant_conv
    # z' = (z - mean) / std, so z = std z' + mean
    decode.bias += decode.weight[:, :, 0, 0] @ mean
    decode.weight *= std[None, :, None, None]
    half = len(mean)
    encode.bias[:half] = (encode.bias[:half] - mean) / std
    encode.weight[:half] /= std[:, None, None, None]
    encode.bias[half:] -= 2 * std.log()  # the other half are logarithms of variances
