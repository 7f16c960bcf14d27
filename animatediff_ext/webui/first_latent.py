"""Image to video in img2img: every frame starts between the first picture and noise, or a last picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from modules import devices, images, rng, shared
from modules.processing import StableDiffusionProcessingImg2Img
from modules.sd_samplers_common import approximation_indexes, images_tensor_to_samples
from PIL import Image

from animatediff_ext.noise import between_pictures, keep_shares, seed_offsets
from animatediff_ext.params import Animation, ImageToVideo
from animatediff_ext.setting import SettingsError


class FirstLatent:
    """Mixes ``p.init_latent`` before each video, always from the latent of the picture itself."""

    def __init__(self, p, animation: Animation):
        self._p = p
        self._animation = animation
        self._picture: torch.Tensor | None = None  # f c h w

    def prepare(self) -> None:
        p = self._p
        settings = self._animation.image_to_video
        if not isinstance(p, StableDiffusionProcessingImg2Img):
            return
        if len(p.init_images) > 1:
            if replace(settings, last_frame=settings.last_frame or None) != ImageToVideo():
                p.comment(
                    "Several pictures are the frames themselves, so the settings that lead away from the first one or "
                    "to a last one (last_frame, latent_power and latent_scale) were not used."
                )
            return
        if self._picture is None:
            self._picture = p.init_latent
        num_frames = self._animation.num_frames
        shares = keep_shares(num_frames, power=settings.latent_power, scale=settings.latent_scale)
        last = last_shares = None
        if settings.last_frame:  # some clients send an empty text
            last = self._encoded(_as_picture(settings.last_frame))
            last_shares = keep_shares(num_frames, power=settings.latent_power_last, scale=settings.latent_scale_last)
            last_shares = last_shares.flip(0)
        mixed = between_pictures(self._picture, self._noise(), shares, last, last_shares)
        if p.mask is not None:  # what the mask protects stays the picture
            mixed = mixed * p.nmask + self._picture * p.mask
        p.init_latent = mixed

    def _noise(self) -> torch.Tensor:
        seeds = [int(seed) + seed_offsets.PICTURE for seed in self._p.seeds]
        noise = rng.ImageRNG(tuple(self._picture.shape[1:]), seeds).next()
        return noise.to(self._picture)

    def _encoded(self, picture: Image.Image) -> torch.Tensor:
        """A picture as a latent ``(1, c, h, w)``, resized as img2img resizes its first picture."""
        p = self._p
        picture = images.flatten(picture, shared.opts.img2img_background_color)
        only_latent = p.resize_mode == 3
        if p.paste_to is not None:  # inpainting "only masked" works on a part of the picture
            x, y, width, height = p.paste_to
            picture = images.resize_image(1, picture, *p.init_images[0].size).crop((x, y, x + width, y + height))
            picture = images.resize_image(2, picture, p.width, p.height)
        elif not only_latent:
            picture = images.resize_image(p.resize_mode, picture, p.width, p.height)
        pixels = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255).permute(2, 0, 1)[None]
        pixels = pixels.to(devices.device, dtype=devices.dtype_vae)
        method = approximation_indexes.get(shared.opts.sd_vae_encode_method)
        latent = images_tensor_to_samples(pixels, method, p.sd_model)
        if only_latent:
            latent = torch.nn.functional.interpolate(latent, size=self._picture.shape[-2:], mode="bilinear")
        return latent.to(self._picture)


def _as_picture(value) -> Image.Image:
    """A picture from the page (PIL) or from the API (base64)."""
    if isinstance(value, Image.Image):
        return value
    from modules.api.api import decode_base64_to_image  # loads the API, which the page does not need

    try:
        return decode_base64_to_image(value)
    except Exception as problem:  # whatever was sent, one sentence says what is wanted
        raise SettingsError("The last frame (last_frame) is not a picture: send it as base64 text.") from problem
