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

from animatediff_ext.toy.clips import some_caption
from animatediff_ext.toy.draw import draw
from animatediff_ext.toy.fit import Plan, fit
from animatediff_ext.toy.learn_vae import as_pixels
from animatediff_ext.toy.networks import SCHEDULE, new_text_encoder, new_unet
from animatediff_ext.toy.scene import Scene, random_scene
from animatediff_ext.trainer.keyed import generator

BATCH = 32
CAPTION_DROPOUT = 0.1
LAST_TIMESTEP = SCHEDULE.num_timesteps - 1
UNFILLED = 0.6
"""The share of the steps with captions as long as they are. Filled up to 77 tokens, each word is a 77th of what is
attended to at first: colours were learnt so all the same, and of headings nothing."""


@dataclass(frozen=True, kw_only=True)
class Stills:
    """Pictures of one look, encoded."""

    scenes: Sequence[Scene]
    latents: torch.Tensor
    """``(b 4 h w)``, scaled"""


@torch.no_grad()
def encoded_stills(vae: AutoencoderKL, look: str, num_pictures: int, seed: int) -> Stills:
    random = np.random.default_rng([seed, num_pictures])
    scenes = [random_scene(random) for _ in range(num_pictures)]
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
    """UNet and text encoder, from nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ImageModel(new_unet(), new_text_encoder(tokenizer))

    def loss(step: int) -> torch.Tensor:
        return _loss(model, stills, tokenizer, seed, step, fill_up=step >= UNFILLED * plan.num_steps)

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
    fill_up: bool = True,
) -> torch.Tensor:
    """The squared error of v (Salimans and Ho, arXiv 2202.00512), most of all at timesteps in the middle (Esser et
    al., arXiv 2403.03206, section 3.1), where shapes are decided; ``fill_up`` captions to the length that hosts give
    prompts."""
    random = np.random.default_rng([seed, step])
    noises = generator(seed, step, "noise")
    chosen = random.integers(len(stills.scenes), size=BATCH)
    captions = [some_caption(random, stills.scenes[i]) * (random.random() > CAPTION_DROPOUT) for i in chosen]
    x0 = stills.latents[chosen]
    noise = torch.randn(x0.shape, generator=noises)
    # one in each of as many equal parts: their mean varies less from step to step
    parts = (torch.arange(BATCH) + torch.rand(BATCH, generator=noises)) / BATCH
    timesteps = (SCHEDULE.num_timesteps * torch.special.ndtri(parts).sigmoid()).long().clamp(max=LAST_TIMESTEP)
    alphas = SCHEDULE.alphas_cumprod()[timesteps].view(-1, 1, 1, 1)
    signal, rest = alphas.sqrt(), (1 - alphas).sqrt()
    length = model.text_encoder.config.max_position_embeddings
    padding = {"padding": "max_length", "max_length": length} if fill_up else {"padding": True}
    ids = tokenizer(captions, return_tensors="pt", **padding).input_ids
    prediction = model.unet(signal * x0 + rest * noise, timesteps, model.text_encoder(ids).last_hidden_state).sample
    return (prediction - (signal * noise - rest * x0)).square().mean()
