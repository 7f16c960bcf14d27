"""The toy world's image models: the base from captions and pictures, and personalised ones that start from it.

Axes: b pictures, n tokens, c channels, h height, w width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizerFast

from animatediff_ext.motion import IMAGE_SCHEDULE
from animatediff_ext.toy.clips import some_caption
from animatediff_ext.toy.draw import draw
from animatediff_ext.toy.fit import Plan, fit
from animatediff_ext.toy.learn_vae import as_pixels
from animatediff_ext.toy.networks import new_text_encoder, new_unet
from animatediff_ext.toy.scene import Scene, random_scene
from animatediff_ext.trainer.keyed import generator

BATCH = 32
CAPTION_DROPOUT = 0.1
UNFILLED = 0.6
"""The share of the steps with captions as long as they are. Filled up to 77 tokens, each word is a 77th of what is
attended to at first: colours were learnt so all the same, and of headings nothing."""


@dataclass(frozen=True, kw_only=True)
class Stills:
    """Pictures of one look, encoded."""

    scenes: Sequence[Scene]
    latents: torch.Tensor
    """``(b 4 h w)``, scaled"""


def growing_spread(number: int, num_pictures: int) -> float:
    """Of the shapes' places: from 0 to 1 over the first half of the pictures."""
    return min(1.0, 2 * number / num_pictures)


def lesson(progress: float, num_pictures: int) -> tuple[int, int]:
    """First picture, and the one behind the last, of those that are learnt from after this share of the steps.

    A shape that may be anywhere shows its heading to a picture full of noise no more than its place; so the loss hardly
    asks what *left* means, and in 3,500 steps the base learnt nothing of it. With all shapes in the middle headings are
    as easy as colours, and what a word means stays known when they spread out.
    """
    first, end = int(num_pictures * min(0.5, 1.6 * progress)), int(num_pictures * min(1.0, 0.125 + 2 * progress))
    return first, max(first + 1, end)


@torch.no_grad()
def encoded_stills(vae: AutoencoderKL, look: str, num_pictures: int, seed: int, *, growing: bool = False) -> Stills:
    """With ``growing`` the shapes of the first pictures are in the middle (`growing_spread`)."""
    random = np.random.default_rng([seed, num_pictures])
    spreads = [growing_spread(i, num_pictures) if growing else 1.0 for i in range(num_pictures)]
    scenes = [random_scene(random, spread=spread) for spread in spreads]
    latents = []
    for start in range(0, num_pictures, 64):
        pixels = as_pixels(np.stack([draw(scene, look) for scene in scenes[start : start + 64]]))
        latents.append(vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor)
    return Stills(scenes=scenes, latents=torch.cat(latents))


class ImageModel(nn.Module):
    """What reads text and denoises; the VAE is not learnt here."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel):
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder


def learn_base(stills: Stills, tokenizer: CLIPTokenizerFast, seed: int, plan: Plan, folder: Path) -> ImageModel:
    """UNet and text encoder, from nothing; the stills are those of a growing spread."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ImageModel(new_unet(), new_text_encoder(tokenizer))

    def loss(step: int) -> torch.Tensor:
        progress = step / plan.num_steps
        pictures = lesson(progress, len(stills.scenes))
        return _loss(model, stills, tokenizer, seed, step, pictures, fill_up=progress >= UNFILLED)

    fit("base", model, loss, plan, folder)
    return model


def personalise(
    model: ImageModel, stills: Stills, tokenizer: CLIPTokenizerFast, seed: int, plan: Plan, folder: Path
) -> None:
    """Go on with the whole UNet on pictures of another look, as DreamBooth-style checkpoints are made."""
    model.unet.requires_grad_(True)
    fit("personalise", model.unet, lambda step: _loss(model, stills, tokenizer, seed, step), plan, folder)


def _loss(
    model: ImageModel,
    stills: Stills,
    tokenizer: CLIPTokenizerFast,
    seed: int,
    step: int,
    pictures: tuple[int, int] | None = None,
    fill_up: bool = True,
) -> torch.Tensor:
    """The squared error of v (Salimans and Ho, arXiv 2202.00512) at timesteps of all heights, over some of the
    pictures or all; ``fill_up`` their captions to the length that hosts give prompts."""
    random = np.random.default_rng([seed, step])
    noises = generator(seed, step, "noise")
    chosen = random.integers(*(pictures or (0, len(stills.scenes))), size=BATCH)
    captions = [some_caption(random, stills.scenes[i]) * (random.random() > CAPTION_DROPOUT) for i in chosen]
    x0 = stills.latents[chosen]
    noise = torch.randn(x0.shape, generator=noises)
    # one timestep in each of as many equal parts: their mean varies less from step to step
    timesteps = (1000 * (torch.arange(BATCH) + torch.rand(BATCH, generator=noises)) / BATCH).long()
    alphas = IMAGE_SCHEDULE.alphas_cumprod()[timesteps].view(-1, 1, 1, 1)
    signal, rest = alphas.sqrt(), (1 - alphas).sqrt()
    length = model.text_encoder.config.max_position_embeddings
    padding = {"padding": "max_length", "max_length": length} if fill_up else {"padding": True}
    ids = tokenizer(captions, return_tensors="pt", **padding).input_ids
    prediction = model.unet(signal * x0 + rest * noise, timesteps, model.text_encoder(ids).last_hidden_state).sample
    return (prediction - (signal * noise - rest * x0)).square().mean()
