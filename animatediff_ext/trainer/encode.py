"""From examples of the data to what the UNet is trained on: latents and captions, from the cache or made now.

Axes: s clips, f frames, c channels, h height, w width (of latents).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from animatediff_ext.media import MediaError
from animatediff_ext.standalone.spatial import Conditioning, SpatialModel
from animatediff_ext.trainer.config import Base, Config
from animatediff_ext.trainer.data.cache import TensorCache, latents_key, text_key
from animatediff_ext.trainer.data.dataset import Example
from animatediff_ext.trainer.data.pixels import pixels_of
from animatediff_ext.trainer.data.take import Take
from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.keyed import chance, generator

_CAPTIONS_IN_MEMORY = 512


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some clips, ready for the UNet."""

    latents: torch.Tensor
    """``(s f c h w)`` float32, of unit size"""
    conditioning: Conditioning
    """s rows"""
    keys: tuple[tuple[int | str, ...], ...]
    """Of each clip's random numbers."""

    @property
    def num_frames(self) -> int:
        return self.latents.shape[1]


class Encoder:
    """The base model's VAE and text encoders, as the trainer uses them."""

    def __init__(self, spatial: SpatialModel, cache: TensorCache, config: Config):
        self._spatial = spatial
        self._cache = cache
        self._seed = config.run.seed
        self._dropout = config.sample.caption_dropout
        self.captions = Captions(spatial, cache, config.base)

    def batch(self, examples: Sequence[Example]) -> Batch:
        """All clips must be of one size."""
        keys = tuple((self._seed, example.take.index) for example in examples)
        captions = [
            "" if chance(self._dropout, *key, "caption") else example.caption
            for key, example in zip(keys, examples, strict=True)
        ]
        return self._batch(examples, keys, captions)

    def held_out(self, take: Take) -> Batch:
        """A clip that is not trained on, with its caption."""
        latents = self._cache.get(latents_key(take, self._spatial.vae_fingerprint))
        pixels = None if latents else _pixels(take)
        example = Example(take=take, caption=take.clip.caption, pixels=pixels, latents=latents, bad=())
        return self._batch([example], ((self._seed, "held out", take.index),), [example.caption])

    def _batch(
        self, examples: Sequence[Example], keys: tuple[tuple[int | str, ...], ...], captions: Sequence[str]
    ) -> Batch:
        return Batch(
            latents=torch.stack([self._latents(example, key) for key, example in zip(keys, examples, strict=True)]),
            conditioning=self.captions.rows(captions),
            keys=keys,
        )

    def _latents(self, example: Example, key: tuple[int | str, ...]) -> torch.Tensor:
        """A draw from the VAE's posterior, ``(f c h w)``."""
        moments = example.latents or self._encoded(example)
        device = self._spatial.vae.device
        mean, std = (moments[name].to(device, torch.float32) for name in ("mean", "std"))
        noise = torch.randn(mean.shape, generator=generator(*key, "posterior"))
        return (mean + std * noise.to(device)).contiguous()  # else the order in memory tells where they came from

    def _encoded(self, example: Example) -> dict[str, torch.Tensor]:
        pixels = example.pixels.to(self._spatial.vae.device)
        mean, std = self._spatial.encode_frames(pixels.float() / 127.5 - 1)
        return self._cache.put(latents_key(example.take, self._spatial.vae_fingerprint), {"mean": mean, "std": std})


def _pixels(take: Take) -> torch.Tensor:
    try:
        return pixels_of(take)
    except MediaError as error:
        raise TrainError(
            f"{take.clip.name}, which is held out for validation, {take.clip.complaint(error)} Replace or remove it."
        ) from error


class Captions:
    """Text embeddings, each computed once as far as memory and the cache go."""

    def __init__(self, spatial: SpatialModel, cache: TensorCache, options: Base):
        self._spatial = spatial
        self._cache = cache
        self._clip_skip = options.clip_skip
        self._num_chunks = options.text_chunks
        self._recent: OrderedDict[str, Conditioning] = OrderedDict()

    def rows(self, captions: Sequence[str]) -> Conditioning:
        """One row for each caption, on the model's device.

        All have ``base.text_chunks`` chunks, the same in every batch: were a batch as long as its longest caption, what
        is learnt from a clip would depend on its neighbours. Longer captions are cut; shorter ones are filled up with
        chunks of no words, as text encoders do it.
        """
        num_tokens = self._num_chunks * self._row("").tokens.shape[1]
        rows = [self._of_length(self._row(caption), num_tokens) for caption in captions]
        told = [row if caption else self._spatial.unprompted(row) for row, caption in zip(rows, captions, strict=True)]
        return Conditioning.cat(told).to(self._spatial.unet.device)

    def _row(self, caption: str) -> Conditioning:
        row = self._recent.pop(caption, None) or self._load(caption)
        self._recent[caption] = row
        if len(self._recent) > _CAPTIONS_IN_MEMORY:
            self._recent.popitem(last=False)
        return row

    def _load(self, caption: str) -> Conditioning:
        key = text_key(caption, self._spatial.text_fingerprint, self._clip_skip)
        known = self._cache.get(key) or self._cache.put(key, self._encoded(caption))
        return Conditioning(**{name: tensor.to("cpu", torch.float32) for name, tensor in known.items()})

    def _encoded(self, caption: str) -> dict[str, torch.Tensor]:
        # A caption is no prompt: brackets in it are somebody's way of writing, and no weights.
        row = self._spatial.encode_text([caption], self._clip_skip, as_written=True)
        return {"tokens": row.tokens} | ({} if row.pooled is None else {"pooled": row.pooled})

    def _of_length(self, row: Conditioning, num_tokens: int) -> Conditioning:
        tokens, empty = row.tokens[:, :num_tokens], self._row("").tokens
        missing = (num_tokens - tokens.shape[1]) // empty.shape[1]
        return Conditioning(torch.cat([tokens, *[empty] * missing], dim=1), row.pooled)
