"""FreeInit: sample, put the noise back, keep its low frequencies, take fresh noise for the rest, sample again.

In training the noisiest latent still shows the layout of its clip in the low frequencies; white noise does not, and a
clip that starts from it flickers. The low frequencies of a clip that was sampled already close that gap (Wu et al.,
"FreeInit: Bridging Initialization Gap in Video Diffusion Models", arXiv 2312.07537).

Axes: f frames, c channels, h height, w width. Masks are ``(f, h, w)`` as fftshift orders them: frequency zero lies at
``size // 2`` of each axis.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.fft import fftn, ifftn, ifftshift

Filter = Callable[..., torch.Tensor]
"""``filter(num_frames, height, width, *, spatial_stop, temporal_stop) -> mask``, float32 ``(f, h, w)`` in 0…1."""

_BUTTERWORTH_ORDER = 4  # as in the authors' code; the higher, the harder the edge


def gaussian(num_frames: int, height: int, width: int, *, spatial_stop: float, temporal_stop: float) -> torch.Tensor:
    """exp(-d² / 2s²), the softest: 0.61 at the stop frequency, and a long tail that keeps more of the clip."""
    d2 = _squared_distance(num_frames, height, width, spatial_stop, temporal_stop)
    return torch.exp(-d2 / (2 * spatial_stop**2)).float()


def butterworth(num_frames: int, height: int, width: int, *, spatial_stop: float, temporal_stop: float) -> torch.Tensor:
    """1 / (1 + (d² / s²)⁴): flat up to the stop frequency, one half at it, without the ringing of a hard edge."""
    d2 = _squared_distance(num_frames, height, width, spatial_stop, temporal_stop)
    return (1 / (1 + (d2 / spatial_stop**2) ** _BUTTERWORTH_ORDER)).float()


def ideal(num_frames: int, height: int, width: int, *, spatial_stop: float, temporal_stop: float) -> torch.Tensor:
    """An ellipsoid with a hard edge: all where d² <= 2s, else nothing.

    One would expect d² <= s². The authors' code has 2s, which at s = 1/4 is an edge at 0.71 in place of 0.25; peers
    copied it, and settings that users share mean it, so it stays.
    """
    d2 = _squared_distance(num_frames, height, width, spatial_stop, temporal_stop)
    return (d2 <= 2 * spatial_stop).float()


def box(num_frames: int, height: int, width: int, *, spatial_stop: float, temporal_stop: float) -> torch.Tensor:
    """A box around frequency zero with half sizes round(f//2 · t) and round(h//2 · s), the latter for h and w alike.

    As in the authors' code it has the lower face and not the upper one, so a half size of 0 is an empty box.
    """
    half_f = round(num_frames // 2 * temporal_stop)
    half_hw = round(height // 2 * spatial_stop)
    f = _between(num_frames, half_f).view(-1, 1, 1)
    h = _between(height, half_hw).view(-1, 1)
    w = _between(width, half_hw)
    return (f & h & w).float()


FILTERS: dict[str, Filter] = {"butterworth": butterworth, "gaussian": gaussian, "box": box, "ideal": ideal}


def low_pass(
    name: str, num_frames: int, height: int, width: int, *, spatial_stop: float, temporal_stop: float
) -> torch.Tensor:
    """The share of each frequency that stays with the clip: float32 ``(f, h, w)`` in 0…1, frequency zero in the middle.

    ``height`` and ``width`` are of the latent. The stop frequencies (the paper's d_s and d_t) are fractions of the
    highest frequency, 0…1; where one of them is 0, nothing stays. ``name`` is a key of `FILTERS`, else `ValueError`.

    The formulas put the middle of an axis at ``size / 2``, as the authors' code does. On an axis of odd length that is
    half a step beyond frequency zero, so the shorter the axis, the less stays; on an axis of length 1, where only
    frequency zero exists, it counts as the highest.
    """
    if name not in FILTERS:
        raise ValueError(f"There is no FreeInit filter {name!r}; choose one of {', '.join(FILTERS)}.")
    return FILTERS[name](num_frames, height, width, spatial_stop=spatial_stop, temporal_stop=temporal_stop)


def noised(latent: torch.Tensor, noise: torch.Tensor, alpha_cumprod: float | torch.Tensor) -> torch.Tensor:
    """z_T = √ᾱ z_0 + √(1 - ᾱ) ε: a finished latent diffused back to the timestep whose ᾱ is ``alpha_cumprod``.

    ``latent`` and ``noise`` are ``(f, c, h, w)``, noise of unit variance, in training's scale (not multiplied by a
    sampler's sigma). FreeInit takes the last timestep and the noise that the first sampling began with.
    The result has the dtype and device of ``latent``.
    """
    assert latent.shape == noise.shape, f"latent {tuple(latent.shape)}, noise {tuple(noise.shape)}"
    a = float(alpha_cumprod)
    noise = noise.to(latent.device, torch.float32)
    return (a**0.5 * latent.float() + (1 - a) ** 0.5 * noise).to(latent.dtype)


def refined_noise(z_T: torch.Tensor, fresh: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Low frequencies of ``z_T``, the others of ``fresh``: F⁻¹(F(z_T) · mask + F(fresh) · (1 - mask)).

    ``z_T`` and ``fresh`` are ``(f, c, h, w)``, ``mask`` is ``(f, h, w)`` from `low_pass`; the transform runs over
    f, h and w of each channel, in float32. The result has the dtype and device of ``z_T``. For white noise its variance
    is the mean of m² + (1 - m)² over the mask: 1 for a hard edge, a little less for a soft one.
    """
    f, _, h, w = z_T.shape
    assert fresh.shape == z_T.shape, f"z_T {tuple(z_T.shape)}, fresh noise {tuple(fresh.shape)}"
    assert mask.shape == (f, h, w), f"mask {tuple(mask.shape)} for latents {tuple(z_T.shape)}"
    # Half precision has no FFT on the CPU, and on CUDA only for sizes that are powers of two.
    fresh = fresh.to(z_T.device, torch.float32)
    share = ifftshift(mask.to(z_T.device, torch.float32)).unsqueeze(1)  # (f, 1, h, w), frequency zero first
    axes = (0, 2, 3)
    # The same sum with one transform less; and an empty mask returns the fresh noise to the last bit.
    kept = ifftn(fftn(z_T.float() - fresh, dim=axes) * share, dim=axes)
    # Imaginary only where a mask differs between k and -k (`box`, odd sizes); the real part has their mean.
    return (fresh + kept.real).to(z_T.dtype)


def _squared_distance(
    num_frames: int, height: int, width: int, spatial_stop: float, temporal_stop: float
) -> torch.Tensor:
    """d² = (s/t · (2f/F - 1))² + (2h/H - 1)² + (2w/W - 1)², ``(f, h, w)``, such that d = s is the stop on every axis.

    A stop of zero puts every frequency infinitely far away, so that no filter lets anything through.
    """
    if spatial_stop == 0 or temporal_stop == 0:
        return torch.full((num_frames, height, width), torch.inf, dtype=torch.float64)
    f, h, w = (_axis(size) for size in (num_frames, height, width))
    return ((spatial_stop / temporal_stop * f) ** 2).view(-1, 1, 1) + (h**2).view(-1, 1) + w**2


def _axis(size: int) -> torch.Tensor:
    """-1 … 1, float64: in float32 frequencies that lie on the edge of `ideal` would fall on either side."""
    return 2 * torch.arange(size, dtype=torch.float64) / size - 1


def _between(size: int, half: int) -> torch.Tensor:
    from_middle = torch.arange(size) - size // 2
    return (from_middle >= -half) & (from_middle < half)
