"""One job → the frames of its clip, and the infotext that tells how to make it again.

Axes: f frames, c channels, h height, w width.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import nn

from animatediff_ext.animate import advice_for, blend_of, long_clips_settled
from animatediff_ext.direct import LoraWeight, loras_of
from animatediff_ext.formats import LoraFile
from animatediff_ext.inject.attach import Blend
from animatediff_ext.params import Animation
from animatediff_ext.setting import SettingsError
from animatediff_ext.standalone.devices import device_of, dtype_of, idle_gpu, visiting
from animatediff_ext.standalone.first_latent import first_latents
from animatediff_ext.standalone.frame_conditioning import encoded
from animatediff_ext.standalone.infotext import infotext
from animatediff_ext.standalone.job import RANDOM, Job
from animatediff_ext.standalone.lora import loras_added
from animatediff_ext.standalone.models import Models
from animatediff_ext.standalone.pictures import read_pictures
from animatediff_ext.standalone.sampling import OnStep, Start, sample
from animatediff_ext.standalone.spatial import SpatialModel

_RANDOM_SEEDS = 2**32


@dataclass(frozen=True, kw_only=True)
class Clip:
    """The frames, and what made them."""

    frames: list[Image.Image]
    animation: Animation
    """Resolved."""
    infotext: str


def with_seed(job: Job) -> Job:
    """The same job with a seed, where it asks for any."""
    return replace(job, seed=secrets.randbelow(_RANDOM_SEEDS)) if job.seed == RANDOM else job


def make_clip(
    job: Job,
    models: Models,
    *,
    digest: str,
    local_rank: int = 0,
    on_step: OnStep | None = None,
    warn: Callable[[str], None] = lambda _sentence: None,
    advise: Callable[[str], None] = lambda _sentence: None,
) -> Clip:
    """Sample and decode one job whose seed is settled. ``digest`` is that of the job as it was given.

    ``warn`` is told what concerns this clip, ``advise`` what holds for every one with this sampler or file.

    Raises `SettingsError`, `SpatialModelError`, `FormatError`, `MisfitError` and `MediaError` with one sentence.
    """
    device = device_of(job.device, local_rank)
    if job.device == "auto" and (sentence := idle_gpu()):
        advise(sentence)
    pictures = _Pictures.of(job)
    animation = job.animation.resolved(pictures.num_frames(job.animation) if pictures else None)
    blend = _blend(job, models)
    loras_of_motion = [(models.lora(lora.name), lora) for lora in loras_of(animation)] if blend else []
    loras = [(models.lora(path), strength) for path, strength in job.loras]
    spatial = models.spatial(job, device, dtype_of(job.dtype, device))
    if blend:
        width, height = (side // spatial.vae_factor for side in job.picture_size)
        rows = animation.num_frames * (2 if job.cfg > 1 and not job.low_memory else 1)
        call = {"num_rows": rows, "height": height, "width": width, "device": device, "dtype": spatial.unet.dtype}
        animation = long_clips_settled(animation, spatial.unet, blend, **call)
        for sentence in advice_for(animation, blend, sampler=job.sampler, cfg=job.cfg, num_steps=job.steps):
            advise(sentence)
    motion, *others = dict.fromkeys(model for model, _ in blend) or [None]
    with loras_added(spatial, motion, loras, others=others, device=device, warn=advise):
        latents = _Stage(job, spatial, device, warn).sampled(blend, loras_of_motion, animation, pictures, on_step)
    return Clip(
        frames=_decoded(spatial, latents, device),
        animation=animation,
        infotext=infotext(
            job,
            animation,
            model_digest=models.digest(job.checkpoint),
            module_digest=models.digest(job.motion_module) if blend else "",
            digest=digest,
        ),
    )


def _blend(job: Job, models: Models) -> Blend:
    """The motion module, or two of them; none for stills."""
    if not job.motion_module:
        return []
    files = [job.motion_module, *filter(None, [job.animation.motion.second_module])]
    return blend_of([models.motion(file) for file in files], job.animation)


@dataclass(frozen=True)
class _Pictures:
    """What a clip starts from: uint8 ``f h w 3``."""

    first: np.ndarray
    last: np.ndarray | None

    @classmethod
    def of(cls, job: Job) -> _Pictures | None:
        last = job.animation.image_to_video.last_frame or ""
        if not isinstance(last, str):
            raise SettingsError(f"last_frame is {last!r}: give the path of a picture.")
        last = os.path.expanduser(last)
        if not job.init:
            if last:
                raise SettingsError("last_frame is given without a first one: give that as init.")
            return None
        width, height = job.picture_size
        size = {"width": width, "height": height}
        first = read_pictures(job.init, most=job.animation.num_frames or None, **size)
        if last and len(first) > 1:
            raise SettingsError(
                f"init has {len(first)} pictures, which are the frames themselves: give a single one, or no last_frame."
            )
        return cls(first, read_pictures(last, most=1, **size) if last else None)

    def num_frames(self, animation: Animation) -> int | None:
        """Several pictures are the frames of a clip; of a single one, the setting counts."""
        if len(self.first) == 1:
            return None
        if animation.num_frames > len(self.first):
            raise SettingsError(
                f"Number of frames is {animation.num_frames}, but init has only {len(self.first)}: give fewer frames, "
                "a longer video, or a single picture."
            )
        return len(self.first)


@dataclass(frozen=True)
class _Stage:
    """A job in its model; with ``low_memory`` each part of it is on the device only while it works."""

    job: Job
    spatial: SpatialModel
    device: torch.device
    warn: Callable[[str], None]

    def sampled(
        self,
        blend: Blend,
        loras: Sequence[tuple[LoraFile, LoraWeight]],
        animation: Animation,
        pictures: _Pictures | None,
        on_step: OnStep | None,
    ) -> torch.Tensor:
        """Latents ``(f c h w)``. Raises `SettingsError` where numbers overflowed on the way."""
        job, spatial = self.job, self.spatial
        width, height = job.picture_size
        with self._at_work(*spatial.text_encoders):
            conditioning = encoded(
                spatial, job.prompt, job.negative, animation, clip_skip=job.clip_skip, cfg=job.cfg, warn=self.warn
            )
        start = self._start(animation, pictures) if pictures else None
        with self._at_work(spatial.unet):
            latents = sample(
                spatial,
                blend,
                conditioning,
                animation=animation,
                loras=loras,
                width=width,
                height=height,
                num_steps=job.steps,
                cfg=job.cfg,
                seed=job.seed,
                sampler=job.sampler,
                start=start,
                streams_at_once=1 if job.low_memory else None,
                on_step=on_step,
            )
        if not latents.isfinite().all():
            raise SettingsError(
                f"Numbers became too large on the way (in {spatial.unet.dtype}): give --dtype float32 or bfloat16, or "
                "a smaller --cfg."
            )
        return latents

    def _start(self, animation: Animation, pictures: _Pictures) -> Start:
        with self._at_work(self.spatial.vae):
            latents = first_latents(
                self.spatial,
                pictures.first,
                pictures.last,
                settings=animation.image_to_video,
                num_frames=animation.num_frames,
                seed=self.job.seed,
            )
        return Start(latents=latents, strength=self.job.strength)

    def _at_work(self, *parts: nn.Module) -> AbstractContextManager[None]:
        return visiting(self.device, *parts)


def _decoded(spatial: SpatialModel, latents: torch.Tensor, device: torch.device) -> list[Image.Image]:
    with visiting(device, spatial.vae):
        return [Image.fromarray(frame) for frame in spatial.decode(latents)]
