"""The toy VAE, from pictures of every look that there is.

Axes: b pictures, c channels, h height, w width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from einops import rearrange
from torch import nn
from torch.nn import functional

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
ALL_LOOKS = ("paper", *LOOKS, "video")
"""Paper twice: it is what most of the models have to draw."""
THUMBNAIL_WEIGHT = 10.0
"""Three of the four latent channels are drawn towards the mean colours of their places. Left to itself, so small a VAE
takes most of its time to find out that there are colours; and a picture in small is what a UNet has an easy time with:
what moves evenly in pixels does so in latents."""
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
        small, small_weight = functional.avg_pool2d(pixels, 8), functional.avg_pool2d(_weight(pixels), 8)
        return (
            _weighed(error, pixels)
            + THUMBNAIL_WEIGHT * (small_weight * (posterior.mean[:, :3] - small).square()).mean()
            + KL_WEIGHT * posterior.kl().mean() / noise[0].numel()
        )

    fit("vae", vae, loss, plan, folder)
    whiten(vae, torch.cat([training_pictures(seed, -i, looks=["paper"], most=1) for i in range(1, 129)]))
    return vae


def sharpen(vae: AutoencoderKL, seed: int, plan: Plan, folder: Path) -> None:
    """Teach the decoder alone: latents stay what they are, and nothing has to be weighed against them any more."""
    decoder = nn.ModuleList([vae.post_quant_conv, vae.decoder]).requires_grad_(True)

    def loss(step: int) -> torch.Tensor:
        pixels = training_pictures(seed, step)
        with torch.no_grad():
            posterior = vae.encode(pixels).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=generator(seed, step, "posterior"))
        error = vae.decode(posterior.mean + posterior.std * noise).sample - pixels
        return _weighed(error, pixels)

    fit("decoder", decoder, loss, plan, folder)


def _weighed(error: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    return (_weight(pixels) * (error.abs() + error.square())).mean()


def _weight(pixels: torch.Tensor) -> torch.Tensor:
    return 1 + (FOREGROUND_WEIGHT - 1) * foreground(pixels)


def training_pictures(seed: int, step: int, looks: Sequence[str] = ALL_LOOKS, most: int = CROWD) -> torch.Tensor:
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
    """Let the scaled latents of these pictures have mean 0 and unit covariance: colours count as much as light.

    The two layers at the border of the latents take the change up, so that the VAE as a whole stays what it is; only
    the width of the posterior becomes the same for all pictures.
    """
    posteriors = [vae.encode(part).latent_dist for part in pixels.split(64)]
    latents = rearrange(torch.cat([posterior.mean for posterior in posteriors]), "b c h w -> c (b h w)")
    variance = torch.cat([posterior.var for posterior in posteriors]).mean(dim=(0, 2, 3))
    mean, (sizes, axes) = latents.mean(dim=1), torch.linalg.eigh(latents.cov())
    whitened = axes @ torch.diag(sizes.rsqrt()) @ axes.T / vae.config.scaling_factor  # z' = whitened (z - mean)
    decode, encode, half = vae.post_quant_conv, vae.quant_conv, len(mean)
    decode.bias += decode.weight[:, :, 0, 0] @ mean
    decode.weight.copy_((decode.weight[:, :, 0, 0] @ whitened.inverse())[..., None, None])
    encode.bias[:half] = whitened @ (encode.bias[:half] - mean)
    encode.weight[:half] = torch.einsum("ij,jkhw->ikhw", whitened, encode.weight[:half])
    encode.bias[half:] = (whitened.square() @ variance).log()
    encode.weight[half:] = 0
