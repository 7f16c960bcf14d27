"""The image model that motion modules are trained in, or animate: UNet, VAE and text encoders, all frozen.

Axes: b rows (pictures of any streams), f frames, n tokens, c channels, h height, w width. Latents are 1/8 of the
pixels in height and width, and are always scaled to unit size (times `SpatialModel.latent_scale`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from einops import rearrange
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizerFast

from animatediff_ext.motion import IMAGE_SCHEDULE, NoiseSchedule
from animatediff_ext.setting import SettingsError
from animatediff_ext.standalone.prompts import chunks_of, emphasised, token_ids

Base = Literal["SD 1.5", "SDXL"]
Prediction = Literal["epsilon", "v"]

FRAMES_AT_ONCE = 4
"""Frames that the VAE encodes together. Its first layers have 128 channels at full resolution: one activation of a
512x512 frame is 134 MB in float32."""
SECOND_ENCODER_PAD = 0
"""SDXL's second encoder was trained by open_clip, which pads with token 0."""


@dataclass(frozen=True)
class Conditioning:
    """What the UNet is told by prompts, a row for each."""

    tokens: torch.Tensor
    """``(b n c)``"""
    pooled: torch.Tensor | None = None
    """``(b c)``, SDXL only"""

    def repeat_frames(self, num_frames: int) -> Conditioning:
        """Each row ``num_frames`` times, one clip after the other: ``(b f)`` rows, stream-major."""
        return self._map(lambda x: x.repeat_interleave(num_frames, dim=0))

    def row(self, i: int) -> Conditioning:
        """The prompt of row ``i`` by itself, still with a row axis."""
        return self._map(lambda x: x[i].unsqueeze(0))

    def split(self, num_rows: int) -> list[Conditioning]:
        """Parts of ``num_rows`` rows, the last one of what is left."""
        starts = range(0, len(self.tokens), num_rows)
        return [self._map(lambda x, start=start: x[start : start + num_rows]) for start in starts]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Conditioning:
        return self._map(lambda x: x.to(device=device, dtype=dtype))

    @staticmethod
    def cat(parts: Sequence[Conditioning]) -> Conditioning:
        """The rows of all parts, in order. Raises `ValueError` where prompts have different numbers of tokens."""
        lengths = {part.tokens.shape[1] for part in parts}
        if len(lengths) > 1:
            raise ValueError(f"Prompts of {sorted(lengths)} tokens cannot be joined: encode them in one call.")
        pooled = [part.pooled for part in parts if part.pooled is not None]
        return Conditioning(torch.cat([part.tokens for part in parts]), torch.cat(pooled) if pooled else None)

    def _map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Conditioning:
        return replace(self, tokens=change(self.tokens), pooled=None if self.pooled is None else change(self.pooled))


class SpatialModel:
    """A frozen image model. `load_spatial_model` makes it.

    ``prediction`` is what the UNet predicts: the noise ("epsilon"), or "v" (Salimans and Ho, arXiv 2202.00512);
    ``schedule`` is the one that it was trained on, which motion modules may replace.
    """

    def __init__(
        self,
        *,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        text_encoders: Sequence[CLIPTextModel | CLIPTextModelWithProjection],
        tokenizer: CLIPTokenizerFast,
        base: Base,
        prediction: Prediction,
        path: Path,
        schedule: NoiseSchedule = IMAGE_SCHEDULE,
    ):
        self.unet = unet
        self.vae = vae
        self.text_encoders = tuple(text_encoders)
        self.tokenizer = tokenizer  # both encoders of SDXL read the same vocabulary
        self.base = base
        self.prediction = prediction
        self.schedule = schedule
        self.path = path
        self.title = path.stem if path.is_file() else path.name
        self.latent_scale: float = vae.config.scaling_factor
        self.vae_factor: int = 2 ** (len(vae.config.block_out_channels) - 1)
        for model in self._models():
            model.eval().requires_grad_(False)

    def _models(self) -> Iterable[nn.Module]:
        return (self.unet, self.vae, *self.text_encoders)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> SpatialModel:
        """Moves every weight. The VAE stays in float32 where it would overflow in float16 (SDXL's does)."""
        for model in (self.unet, *self.text_encoders):
            model.to(device=device, dtype=dtype)
        half = dtype is not None and dtype.itemsize < 4
        self.vae.to(device=device, dtype=torch.float32 if half and self.vae.config.force_upcast else dtype)
        return self

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str], clip_skip: int = 1, *, as_written: bool = False) -> Conditioning:
        """A row for each prompt, of 77 tokens for every 75 that the longest one needs.

        ``(word:1.2)`` weighs words, unless the text is to be taken ``as_written``. ``clip_skip`` counts the layers of
        SD 1.5's encoder from the end, as the WebUI does: 2 is the one before the last. SDXL was trained on that one,
        takes no other, and the number is not looked at.
        """
        assert not isinstance(prompts, str), "a list of prompts, not one"
        length = self.text_encoders[0].config.max_position_embeddings
        chunks = chunks_of(self.tokenizer, prompts, length, as_written=as_written)
        pads = (self.tokenizer.eos_token_id, SECOND_ENCODER_PAD)
        ids = [token_ids(chunks, self.tokenizer, pad=pad, chunk_length=length) for pad in pads]
        if self.base == "SD 1.5":
            states = _last_layers(self.text_encoders[0], ids[0], clip_skip)
            return Conditioning(emphasised(states, chunks, length))
        states, pooled = zip(*map(_sdxl_layers, self.text_encoders, ids), strict=True)
        return Conditioning(torch.cat([emphasised(x, chunks, length) for x in states], dim=-1), pooled[1])

    def unprompted(self, rows: Conditioning) -> Conditioning:
        """The rows of an empty text, where they stand for no prompt at all. SD 1.5 reads the text as it is; SDXL learnt
        zeros, which the WebUI (modules/sd_models_xl.py, ``force_zero_negative_prompt``) and diffusers give it too."""
        return rows if self.base == "SD 1.5" else rows._map(torch.zeros_like)

    @torch.no_grad()
    def encode_frames(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels ``(b 3 h w)`` from -1 to 1 → mean and standard deviation of their latents, ``(b 4 h/8 w/8)`` each."""
        parts = [self._posterior(part) for part in pixels.split(FRAMES_AT_ONCE)]
        mean, std = (torch.cat(moments) * self.latent_scale for moments in zip(*parts, strict=True))
        return mean, std

    def _posterior(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        posterior = self.vae.encode(pixels.to(self.vae.device, self.vae.dtype)).latent_dist
        return posterior.mean, posterior.std

    def decode(self, latents: torch.Tensor) -> Iterator[np.ndarray]:
        """Latents ``(b c h w)`` → frames ``(h w 3)`` uint8, one at a time."""
        return (self._picture(latent) for latent in latents)

    @torch.no_grad()
    def _picture(self, latent: torch.Tensor) -> np.ndarray:
        latent = latent.unsqueeze(0).to(self.vae.device, self.vae.dtype)
        pixels = self.vae.decode(latent / self.latent_scale).sample[0]  # c h w
        levels = (pixels.float() / 2 + 0.5).clamp(0, 1).mul(255).round()
        return rearrange(levels, "c h w -> h w c").to("cpu", torch.uint8).numpy()

    def predict(self, x: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        """The UNet's prediction for noisy latents ``(b c h w)`` at ``timesteps`` ``(b,)``, in the dtype of ``x``.

        ``conditioning`` has b rows. Gradients flow through.
        """
        conditioning = conditioning.to(x.device, self.unet.dtype)
        prediction = self.unet(
            x.to(self.unet.dtype),
            timesteps,
            encoder_hidden_states=conditioning.tokens,
            added_cond_kwargs=self._added_conditions(x, conditioning),
            return_dict=False,
        )[0]
        return prediction.to(x.dtype)

    def _added_conditions(self, x: torch.Tensor, conditioning: Conditioning) -> dict[str, torch.Tensor] | None:
        """What SDXL wants to know of a picture: that it was made in this size, and is not cropped."""
        if self.base == "SD 1.5":
            return None
        height, width = (side * self.vae_factor for side in x.shape[-2:])
        sizes = [height, width, 0, 0, height, width]  # original size, top and left of the crop, target size
        time_ids = torch.tensor([sizes], device=x.device, dtype=torch.float32).repeat(len(x), 1)
        return {"text_embeds": conditioning.pooled, "time_ids": time_ids}

    @cached_property
    def text_fingerprint(self) -> str:
        """The same for the same encoders and vocabulary, on every run: a key for caches of encoded prompts."""
        vocabulary = sorted(self.tokenizer.get_vocab().items())
        return _fingerprint(self.text_encoders, repr(vocabulary))

    @cached_property
    def vae_fingerprint(self) -> str:
        """The same for the same VAE and latent scale, on every run: a key for caches of encoded frames."""
        return _fingerprint([self.vae], repr(self.latent_scale))


def _last_layers(encoder: CLIPTextModel, ids: torch.Tensor, clip_skip: int) -> torch.Tensor:
    """Layer ``clip_skip`` from the end, through the final norm: ``(b, n, c)`` from ids ``(b, chunks, length)``."""
    num_layers = encoder.config.num_hidden_layers
    if not 1 <= clip_skip <= num_layers:
        raise SettingsError(f"Clip skip is {clip_skip}: give a whole number from 1 to {num_layers}.")
    output = encoder(rearrange(ids, "b k n -> (b k) n").to(encoder.device), output_hidden_states=True)
    states = encoder.text_model.final_layer_norm(output.hidden_states[-clip_skip])
    return rearrange(states, "(b k) n c -> b (k n) c", b=len(ids))


def _sdxl_layers(encoder: nn.Module, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The layer before the last, without the final norm; and the pooled row of the first chunk ``(b, c)``, if any."""
    output = encoder(rearrange(ids, "b k n -> (b k) n").to(encoder.device), output_hidden_states=True)
    states = rearrange(output.hidden_states[-2], "(b k) n c -> b (k n) c", b=len(ids))
    pooled = getattr(output, "text_embeds", None)  # (b k) c
    return states, None if pooled is None else rearrange(pooled, "(b k) c -> b k c", b=len(ids))[:, 0]


def _fingerprint(models: Iterable[nn.Module], more: str) -> str:
    """16 hexadecimal digits over names, shapes and values. Values count as float32, which every half fits in."""
    digest = hashlib.blake2b(more.encode(), digest_size=8)
    for model in models:
        for name, tensor in sorted(model.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.to("cpu", torch.float32).contiguous().numpy())
    return digest.hexdigest()
