"""Animating with a `SpatialModel`: noise → latents, with or without motion modules.

Axes: b rows at the UNet, f frames, c channels, h height, w width (of latents).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    SchedulerMixin,
)

from animatediff_ext.animate import Session
from animatediff_ext.motion import IMAGE_SCHEDULE, MotionModel, NoiseSchedule
from animatediff_ext.params import Animation
from animatediff_ext.setting import SettingsError
from animatediff_ext.standalone.spatial import Conditioning, Prediction, SpatialModel

MakeSampler = Callable[[NoiseSchedule, Prediction], SchedulerMixin]
OnStep = Callable[[int, int], None]
"""``on_step(steps done, steps in all)``, after each step; it may raise to stop."""


def ddim(schedule: NoiseSchedule, prediction: Prediction) -> DDIMScheduler:
    """As the official AnimateDiff samples (configs/inference/*.yaml: steps_offset 1, clip_sample false)."""
    return DDIMScheduler(
        **_common(schedule, prediction),
        timestep_spacing="leading",
        steps_offset=1,
        clip_sample=False,
        set_alpha_to_one=True,
    )


def euler(schedule: NoiseSchedule, prediction: Prediction) -> EulerDiscreteScheduler:
    return EulerDiscreteScheduler(**_common(schedule, prediction), timestep_spacing="linspace")


def euler_sgm_uniform(schedule: NoiseSchedule, prediction: Prediction) -> EulerDiscreteScheduler:
    """For AnimateDiff-Lightning (its model card: trailing timesteps, which WebUIs call SGM Uniform)."""
    return EulerDiscreteScheduler(**_common(schedule, prediction), timestep_spacing="trailing")


def euler_ancestral(schedule: NoiseSchedule, prediction: Prediction) -> EulerAncestralDiscreteScheduler:
    return EulerAncestralDiscreteScheduler(**_common(schedule, prediction), timestep_spacing="linspace")


def dpm_plus_plus_2m(schedule: NoiseSchedule, prediction: Prediction) -> DPMSolverMultistepScheduler:
    """With Karras' sigmas (Karras et al., arXiv 2206.00364), as WebUIs take by default for this sampler."""
    return DPMSolverMultistepScheduler(
        **_common(schedule, prediction), algorithm_type="dpmsolver++", solver_order=2, use_karras_sigmas=True
    )


def lcm(schedule: NoiseSchedule, prediction: Prediction) -> LCMScheduler:
    """For AnimateLCM and other latent consistency models (Luo et al., arXiv 2310.04378)."""
    return LCMScheduler(**_common(schedule, prediction))


SAMPLERS: dict[str, MakeSampler] = {
    "DDIM": ddim,
    "Euler": euler,
    "Euler SGM Uniform": euler_sgm_uniform,
    "Euler a": euler_ancestral,
    "DPM++ 2M": dpm_plus_plus_2m,
    "LCM": lcm,
}


def _common(schedule: NoiseSchedule, prediction: Prediction) -> dict:
    return {
        "num_train_timesteps": schedule.num_timesteps,
        "beta_schedule": schedule.kind,
        "beta_start": schedule.beta_start,
        "beta_end": schedule.beta_end,
        "prediction_type": {"epsilon": "epsilon", "v": "v_prediction"}[prediction],
    }


@torch.no_grad()
def animate(
    spatial: SpatialModel,
    motion: MotionModel | None,
    *,
    prompt: str,
    negative: str = "",
    animation: Animation,
    width: int,
    height: int,
    num_steps: int = 25,
    cfg: float = 7.5,
    seed: int = 0,
    sampler: str = "DDIM",
    on_step: OnStep | None = None,
) -> torch.Tensor:
    """Latents of one clip, ``(f c h w)`` float32 on the model's device; `SpatialModel.decode` makes frames of them.

    ``width`` and ``height`` are in pixels. Without motion modules the frames are stills that know nothing of each
    other. With ``cfg`` up to 1 the negative prompt has no effect and is not computed. Nothing stays attached to the
    UNet, and no global random state is read or changed.

    Raises `SettingsError` for values that cannot be, and `inject.MisfitError` for motion modules of another kind.
    """
    animation = animation.resolved()
    _check(spatial, width=width, height=height, num_steps=num_steps, sampler=sampler)
    schedule = motion.config.family.schedule if motion else IMAGE_SCHEDULE
    scheduler = SAMPLERS[sampler](schedule, spatial.prediction)
    device = spatial.unet.device
    _set_steps(scheduler, num_steps, sampler, device)

    size = (spatial.unet.config.in_channels, height // spatial.vae_factor, width // spatial.vae_factor)
    noise, generators = seeded_frames(seed, animation.num_frames, size)
    x = noise.to(device) * scheduler.init_noise_sigma  # f c h w
    prompts = [negative, prompt] if cfg > 1 else [prompt]
    conditioning = spatial.encode_text(prompts).repeat_frames(animation.num_frames)
    with _predictor(spatial, motion, animation) as predict:
        for step, timestep in enumerate(scheduler.timesteps):
            scaled = scheduler.scale_model_input(x, timestep)
            prediction = _guided(predict(step, scaled.repeat(len(prompts), 1, 1, 1), timestep, conditioning), cfg)
            x = _stepped(scheduler, prediction, timestep, x, generators)
            if on_step:
                on_step(step + 1, num_steps)
    return x


def _check(spatial: SpatialModel, *, width: int, height: int, num_steps: int, sampler: str) -> None:
    multiple = spatial.vae_factor
    for name, side in (("width", width), ("height", height)):
        if side < multiple or side % multiple:
            raise SettingsError(f"The {name} is {side}: give a multiple of {multiple}, at least {multiple}.")
    if num_steps < 1:
        raise SettingsError(f"The number of steps is {num_steps}: give at least 1.")
    if sampler not in SAMPLERS:
        raise SettingsError(f"The sampler is {sampler!r}: choose from {', '.join(SAMPLERS)}.")


def _set_steps(scheduler: SchedulerMixin, num_steps: int, sampler: str, device: torch.device) -> None:
    try:
        scheduler.set_timesteps(num_steps, device=device)
    except ValueError as error:  # LCM knows 50 timesteps only, the others 1000
        raise SettingsError(f"The sampler {sampler} cannot take {num_steps} steps: give fewer.") from error


def seeded_frames(seed: int, num_frames: int, size: tuple[int, int, int]) -> tuple[torch.Tensor, list[torch.Generator]]:
    """The first noise ``(f c h w)``, and for each frame a generator of what samplers add later, all on the CPU.

    A frame's noise depends on the seed and its own number only, not on the length of the clip.
    """
    source = torch.Generator().manual_seed(seed)
    noise, generators = [], []
    for _ in range(num_frames):
        noise.append(torch.randn(size, generator=source))
        own_seed = torch.randint(2**63 - 1, (), generator=source).item()
        generators.append(torch.Generator().manual_seed(own_seed))
    return torch.stack(noise), generators


Predict = Callable[[int, torch.Tensor, torch.Tensor, Conditioning], torch.Tensor]
"""``predict(step, x (b c h w), timestep (), conditioning of b rows) -> (b c h w)``"""


@contextmanager
def _predictor(spatial: SpatialModel, motion: MotionModel | None, animation: Animation):
    """The UNet with the motion modules in it, or without any: then only as many rows at once as one context has."""
    if motion is None:
        yield lambda _step, *call: _in_parts(spatial, animation.context.length, *call)
        return
    with Session(animation, motion) as session:
        session.attach(spatial.unet, device=spatial.unet.device, dtype=spatial.unet.dtype)

        def predict(step: int, x: torch.Tensor, timestep: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
            session.step = step
            return spatial.predict(x, timestep.expand(len(x)), conditioning)

        yield predict


def _in_parts(
    spatial: SpatialModel, rows: int, x: torch.Tensor, timestep: torch.Tensor, conditioning: Conditioning
) -> torch.Tensor:
    parts = zip(x.split(rows), conditioning.split(rows), strict=True)
    return torch.cat([spatial.predict(part, timestep.expand(len(part)), told) for part, told in parts])


def _guided(prediction: torch.Tensor, cfg: float) -> torch.Tensor:
    """Classifier-free guidance (Ho and Salimans, arXiv 2207.12598), where both predictions are there."""
    if cfg <= 1:
        return prediction
    uncond, cond = prediction.chunk(2)
    return uncond + cfg * (cond - uncond)


def _stepped(scheduler: SchedulerMixin, prediction, timestep, x: torch.Tensor, generators) -> torch.Tensor:
    return scheduler.step(prediction, timestep, x, generator=generators, return_dict=False)[0]
