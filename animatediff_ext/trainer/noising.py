"""The forward process and the loss: timesteps, noise, what is to be predicted, and how errors are weighted.

Axes: s clips, f frames, c channels, h height, w width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from animatediff_ext.motion import NoiseSchedule
from animatediff_ext.trainer.config import Diffusion
from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.keyed import generator

_LARGEST_WEIGHT = 100.0
"""1/SNR of x0 has no bound; at 20 dB of noise the frames have little in common but their layout."""


def schedule_of(options: Diffusion, own: NoiseSchedule) -> NoiseSchedule:
    """The betas of a run: those that the stage was made for, or those that the user chose."""
    if options.schedule == "auto":
        return own
    return NoiseSchedule(kind=options.schedule, beta_start=options.beta_start, beta_end=options.beta_end)


def without_terminal_signal(alphas_cumprod: torch.Tensor) -> torch.Tensor:
    """A schedule whose last timestep is pure noise (Lin et al., arXiv 2305.08891, algorithm 1). Shape is kept."""
    root = alphas_cumprod.double().sqrt()
    first, last = root[0].clone(), root[-1].clone()
    return ((root - last) * first / (first - last)).square().float()


class Noising:
    """x_t = √ᾱ x_0 + √(1 − ᾱ) ε, for one run."""

    def __init__(self, schedule: NoiseSchedule, options: Diffusion, prediction: str):
        if options.zero_terminal_snr and prediction != "v":
            raise TrainError(
                "diffusion.zero_terminal_snr is on, but the base model predicts epsilon, which says nothing of a "
                "picture that is all noise: turn it off, or take a v-prediction checkpoint."
            )
        self.options = options
        self.prediction = prediction
        alphas = schedule.alphas_cumprod()
        if options.timestep_max >= len(alphas):
            raise TrainError(
                f"diffusion.timestep_max is {options.timestep_max}, but the motion module has {len(alphas)} timesteps: "
                f"set it to at most {len(alphas) - 1}."
            )
        self.alphas_cumprod = without_terminal_signal(alphas) if options.zero_terminal_snr else alphas

    def timestep(self, *key: int | str) -> int:
        """The timestep of a clip: one for all of its frames."""
        low, high = self.options.timestep_min, self.options.timestep_max
        u = DENSITIES[self.options.timestep_density](generator(*key, "timestep"))
        return low + min(int(u * (high - low + 1)), high - low)

    def noise(self, shape: torch.Size, *key: int | str) -> torch.Tensor:
        """ε of a clip, ``(f c h w)`` float32 on the CPU, of unit variance but for the offset."""
        random = generator(*key, "noise")
        noise = torch.randn(shape, generator=random)
        shared = self.options.frame_noise
        if shared:
            noise = shared**0.5 * torch.randn(shape[1:], generator=random) + (1 - shared) ** 0.5 * noise
        if self.options.noise_offset:
            noise = noise + self.options.noise_offset * torch.randn(1, shape[1], 1, 1, generator=random)
        return noise

    def noised(self, x0: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """x_t of ``(s f c h w)`` at the timestep ``(s,)`` of each clip."""
        signal, rest = self._parts(timesteps, x0)
        return signal * x0 + rest * noise

    def target(self, x0: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """What the UNet is to predict: ε, or v = √ᾱ ε − √(1 − ᾱ) x_0 (Salimans & Ho, arXiv 2202.00512)."""
        if self.prediction == "epsilon":
            return noise
        signal, rest = self._parts(timesteps, x0)
        return signal * noise - rest * x0

    def weights(self, timesteps: torch.Tensor) -> torch.Tensor:
        """What the squared error at each timestep counts, ``(s,)`` float32 on the CPU.

        With SNR = ᾱ / (1 − ᾱ), the squared errors of x_0, v and ε are in the ratio 1 : 1 + SNR : SNR.
        """
        alphas = self.alphas_cumprod[timesteps.cpu()].double()
        snr = alphas / (1 - alphas)
        of_x0 = 1 / snr if self.prediction == "epsilon" else 1 / (1 + snr)
        weights = {
            "none": torch.ones_like(snr),
            "v": of_x0 * (1 + snr),
            "x0": of_x0,
        }[self.options.weighting]
        if self.options.min_snr:
            weights = snr.clamp(max=self.options.min_snr) * of_x0
        return weights.clamp(max=_LARGEST_WEIGHT).float()

    def _parts(self, timesteps: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        alphas = self.alphas_cumprod[timesteps.cpu()].to(like.device).view(-1, *[1] * (like.ndim - 1))
        return alphas.sqrt(), (1 - alphas).sqrt()


def _uniform(random: torch.Generator) -> float:
    return torch.rand((), generator=random, dtype=torch.float64).item()


def _high_noise(random: torch.Generator) -> float:
    return _uniform(random) ** 0.5  # a density that grows with the timestep


def _low_noise(random: torch.Generator) -> float:
    return 1 - _uniform(random) ** 0.5


def _logit_normal(random: torch.Generator) -> float:
    """Most of all in the middle (Esser et al., arXiv 2403.03206, section 3.1)."""
    return torch.randn((), generator=random, dtype=torch.float64).sigmoid().item()


DENSITIES: dict[str, Callable[[torch.Generator], float]] = {
    "uniform": _uniform,
    "high-noise": _high_noise,
    "low-noise": _low_noise,
    "logit-normal": _logit_normal,
}
"""Draws from 0 … 1, where 1 is the highest timestep."""


def loss_per_clip(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean squared error of each clip: ``(s f c h w)`` twice → ``(s,)``, in float32."""
    return (prediction.float() - target.float()).square().flatten(1).mean(1)


def without_appearance(x: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """√2 x_i − x_anchor: what a frame has apart from one frame of its clip, of the variance that it had.

    ``x`` is ``(s f c h w)``, ``anchors`` ``(s,)`` frame numbers. The look of a clip is in all of its frames and so
    leaves the difference (MotionDirector, arXiv 2310.08465, equation 5 with β = 1).
    """
    anchor = x[torch.arange(len(x), device=x.device), anchors.to(x.device)].unsqueeze(1)
    return 2**0.5 * x - anchor
