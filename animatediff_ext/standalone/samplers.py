"""The samplers, by the names that users choose: each makes a scheduler of diffusers for a noise schedule."""

from __future__ import annotations

from collections.abc import Callable

from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    SchedulerMixin,
)

from animatediff_ext.motion import NoiseSchedule
from animatediff_ext.standalone.spatial import Prediction

MakeSampler = Callable[[NoiseSchedule, Prediction], SchedulerMixin]


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
