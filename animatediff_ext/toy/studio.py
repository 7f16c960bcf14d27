"""Clips by the models of the toy world, through the same engine as any other's.

Axes: f frames, h height, w width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch

from animatediff_ext.formats import LoraFile, load_motion_module
from animatediff_ext.motion import MotionModel
from animatediff_ext.params import Animation, Noise
from animatediff_ext.standalone import load_spatial_model
from animatediff_ext.standalone.lora import load_whole_lora, loras_added
from animatediff_ext.standalone.sampling import animate
from animatediff_ext.standalone.spatial import SpatialModel
from animatediff_ext.toy.files import BASE, MOTION, SHIPPED
from animatediff_ext.toy.scene import CLIP_FRAMES, SIDE

HOW = {"num_steps": 20, "cfg": 3.0, "sampler": "DDIM"}
"""Its models are small and want little guidance."""
FRAME_NOISE = 0.1
"""The share of noise that the frames of a clip have in common, when the motion module learns and when it is used. With
none, frames settle on a mean of what each would show alone, and clips of one prompt look alike."""
CLIP = Animation(num_frames=CLIP_FRAMES, noise=Noise(kind="mixed", share=FRAME_NOISE))


class Studio:
    """The files of one folder, loaded when they are needed first. Raises `FileNotFoundError` where there are none."""

    def __init__(self, folder: Path = SHIPPED):
        missing = [name for name in (BASE, MOTION) if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{folder} has no {' and no '.join(missing)}: `python -m animatediff_ext toy build` makes them."
            )
        self.folder = folder
        self.image_model = cache(self._image_model)
        self.motion = cache(self._motion)
        self.lora = cache(self._lora)

    def _image_model(self, name: str) -> SpatialModel:
        return load_spatial_model(self.folder / name)

    def _motion(self, name: str) -> MotionModel:
        return load_motion_module(self.folder / name)

    def _lora(self, name: str) -> LoraFile:
        return load_whole_lora(self.folder / name)

    def clip(
        self,
        image_model: str,
        motion: str | None,
        prompt: str,
        seed: int,
        *,
        loras: Sequence[tuple[str, float]] = (),
        animation: Animation = CLIP,
        **how,
    ) -> np.ndarray:
        """uint8 ``(f h w 3)``. ``motion`` None: stills, each from the noise that the frame would have."""
        spatial = self.image_model(image_model)
        module = self.motion(motion) if motion else None
        with loras_added(
            spatial, module, [(self.lora(name), strength) for name, strength in loras], device=torch.device("cpu")
        ):
            latents = animate(
                spatial,
                module,
                prompt=prompt,
                animation=animation,
                width=SIDE,
                height=SIDE,
                seed=seed,
                **HOW | how,
            )
        return np.stack(list(spatial.decode(latents)))
