"""The families of motion modules and the facts in which they differ.

The network of a motion module is the same everywhere; what changes is the world that it was trained in. Every fact is
taken from the official code of its family, named at the entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

Span = Literal["frame", "clip"]
"""What the statistics of a group norm are taken over: each frame by itself, or all frames of a clip together."""

_POWERS = {"linear": 1.0, "scaled_linear": 2.0}
"""Of what grows evenly."""


@dataclass(frozen=True, kw_only=True)
class NoiseSchedule:
    """The variances beta_1 … beta_T of the forward process (Ho et al., arXiv 2006.11239).

    ``linear`` spaces beta evenly, ``scaled_linear`` spaces its square root evenly. These are the names of diffusers;
    LDM calls the second one "linear" and ComfyUI calls the first one "sqrt_linear". Raises `ValueError` for numbers
    that are no such schedule: files bring their own.
    """

    kind: Literal["linear", "scaled_linear"]
    beta_start: float
    beta_end: float
    num_timesteps: int = 1000

    def __post_init__(self):
        if self.kind not in _POWERS:
            raise ValueError(f"its kind is {self.kind!r}, but only {' and '.join(_POWERS)} are known")
        betas = self.beta_start, self.beta_end
        if not all(type(beta) in (int, float) for beta in betas) or not 0 < betas[0] <= betas[1] < 1:
            raise ValueError(f"beta goes from {betas[0]!r} to {betas[1]!r}, but it has to grow between 0 and 1")
        if type(self.num_timesteps) is not int or self.num_timesteps < 1:
            raise ValueError(f"it has {self.num_timesteps!r} timesteps, but that has to be a whole number of 1 or more")

    def alphas_cumprod(self) -> torch.Tensor:
        """The share of signal left at each timestep, ``(num_timesteps,)`` float32, falling."""
        power = _POWERS[self.kind]
        root = torch.linspace(
            self.beta_start ** (1 / power), self.beta_end ** (1 / power), self.num_timesteps, dtype=torch.float64
        )
        return (1 - root**power).cumprod(0).float()


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a family has to be sampled; what is empty is free."""

    samplers: tuple[str, ...] = ()
    most_cfg: float | None = None
    steps: Sequence[int] = ()
    context_length: int = 0


@dataclass(frozen=True, kw_only=True)
class Family:
    """One row of the table: what a motion module expects of the UNet around it, and of the sampler."""

    name: str
    title: str
    base: Literal["SD 1.5", "SDXL"]
    resblock_norm: Span
    """Norms of the UNet's ResBlocks and its output norm."""
    module_norm: Span
    """The motion module's own first norm."""
    schedule: NoiseSchedule
    num_positions: int
    """Length of the position table where the file brings none."""
    sampler_hint: str = ""
    sampling: Sampling | None = None


_SD_MOTION = NoiseSchedule(kind="linear", beta_start=0.00085, beta_end=0.012)
IMAGE_SCHEDULE = NoiseSchedule(kind="scaled_linear", beta_start=0.00085, beta_end=0.012)
"""That of SD 1.5 and SDXL themselves (CompVis' v1-inference.yaml; Stability's sd_xl_base.yaml)."""
_SDXL_MOTION = NoiseSchedule(kind="scaled_linear", beta_start=0.00085, beta_end=0.020)

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        # guoyww/AnimateDiff configs/inference/inference-v1.yaml: use_inflated_groupnorm false
        Family(
            name="v1",
            title="AnimateDiff v1",
            base="SD 1.5",
            resblock_norm="clip",
            module_norm="frame",
            schedule=_SD_MOTION,
            num_positions=24,
        ),
        # … inference-v2.yaml and inference-v3.yaml: use_inflated_groupnorm true
        Family(
            name="v2",
            title="AnimateDiff v2",
            base="SD 1.5",
            resblock_norm="frame",
            module_norm="frame",
            schedule=_SD_MOTION,
            num_positions=32,
        ),
        Family(
            name="v3",
            title="AnimateDiff v3",
            base="SD 1.5",
            resblock_norm="frame",
            module_norm="frame",
            schedule=_SD_MOTION,
            num_positions=32,
        ),
        # guoyww/AnimateDiff, branch sdxl, motion_module.py: the module normalises the five-dimensional tensor
        Family(
            name="sdxl-beta",
            title="AnimateDiff SDXL-beta",
            base="SDXL",
            resblock_norm="frame",
            module_norm="clip",
            schedule=_SDXL_MOTION,
            num_positions=32,
        ),
        # hotshotco/Hotshot-XL: temporal layers in diffusers' 3-D UNet, trained on SDXL's own schedule
        Family(
            name="hotshot-xl",
            title="HotshotXL",
            base="SDXL",
            resblock_norm="clip",
            module_norm="frame",
            schedule=IMAGE_SCHEDULE,
            num_positions=24,
            sampler_hint="8 frames",
            sampling=Sampling(context_length=8),
        ),
        # G-U-N/AnimateLCM animatelcm_sd15/configs/inference-t2v.yaml
        Family(
            name="animatelcm",
            title="AnimateLCM",
            base="SD 1.5",
            resblock_norm="frame",
            module_norm="frame",
            schedule=_SD_MOTION,
            num_positions=64,
            sampler_hint="sampler LCM, 4 to 8 steps, CFG 1 to 2, with the AnimateLCM LoRA",
            sampling=Sampling(samplers=("LCM",), most_cfg=2.5, steps=range(2, 13)),
        ),
        # ByteDance/AnimateDiff-Lightning model card
        Family(
            name="lightning",
            title="AnimateDiff-Lightning",
            base="SD 1.5",
            resblock_norm="frame",
            module_norm="frame",
            schedule=_SD_MOTION,
            num_positions=32,
            sampler_hint="sampler Euler with schedule SGM Uniform, as many steps as the file's name says, CFG 1",
            sampling=Sampling(samplers=("Euler SGM Uniform",), most_cfg=1.5, steps=(1, 2, 4, 8)),
        ),
    )
}
