"""FreeInit in the WebUI: a generation samples several times, each time from better noise.

The WebUI draws the noise from ``p.rng``, a new one for each video. So each round gets a generator with the same
seeds, whose first draw is the noise of that round: everything that the sampler draws later stays what it would be
without FreeInit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from modules import rng, shared

from animatediff_ext.noise import low_pass, noised, refined_noise, seed_offsets
from animatediff_ext.params import Animation
from animatediff_ext.webui import host
from animatediff_ext.webui.noise import directed

_MADE_BY_SETUP = ("c", "uc", "hr_c", "hr_uc", "step_multiplier", "firstpass_steps")
"""By the WebUI's ``setup_conds``, for so many steps; the hires pass reads the last one."""


def sample_repeatedly(p, animation: Animation, sample: Callable):
    """The result of the last round of ``sample``. Only the last one has a hires pass; an interrupt ends the rounds."""
    settings, num_steps, checkpoint = animation.free_init, p.steps, host.checkpoint_in_use()
    shared.state.job_count += settings.num_iterations - 1
    first = _generator(p, animation, p.seeds).next()  # f c h w
    mask = low_pass(
        settings.filter,
        len(first),
        *first.shape[-2:],
        spatial_stop=settings.spatial_stop,
        temporal_stop=settings.temporal_stop,
    )
    noise, least_signal = first, _least_signal()
    for iteration in range(1, settings.num_iterations):
        steps = max(settings.steps_of(iteration, num_steps), host.fewest_steps(p))
        with _only(p, enable_hr=False, steps=steps):
            latent = _sample_from(p, animation, noise, _in_steps(p, num_steps, sample))
        if shared.state.interrupted or shared.state.skipped:
            return latent
        shared.state.nextjob()
        host.back_to_checkpoint(checkpoint)
        if getattr(p, "sampler", None) is not None:  # img2img keeps one, which is around the refiner by now
            host.renew_sampler(p)
        offset = iteration * seed_offsets.FRESH
        fresh = _generator(p, animation, [int(seed) + offset for seed in p.seeds]).next()
        noise = refined_noise(noised(latent, first, least_signal), fresh, mask).to(first)
    return _sample_from(p, animation, noise, sample)


def _sample_from(p, animation: Animation, noise: torch.Tensor, sample: Callable):
    generator = _generator(p, animation, p.seeds)
    drawn = generator.first

    def first() -> torch.Tensor:
        drawn()  # so that the draws after it are the usual ones
        return noise.clone()  # the WebUI scales it in place

    generator.first = first
    p.rng = generator
    return sample()


def _in_steps(p, num_steps: int, sample: Callable) -> Callable:
    """With fewer steps prompts that are edited (``[a:b:0.5]``) have to change earlier: their schedules count steps."""
    if p.steps == num_steps:
        return sample
    with _only(p, **{name: getattr(p, name) for name in _MADE_BY_SETUP if hasattr(p, name)}):
        p.setup_conds()
        return partial(sample, conditioning=p.c, unconditional_conditioning=p.uc)


@contextmanager
def _only(p, **fields) -> Iterator[None]:
    """Fields of ``p`` as they are for a round that is not the last one: without a hires pass, with fewer steps."""
    before = {name: getattr(p, name, False) for name in fields}
    vars(p).update(fields)
    try:
        yield
    finally:
        vars(p).update(before)


def _generator(p, animation: Animation, seeds: list[int]) -> rng.ImageRNG:
    generator = rng.ImageRNG(
        p.rng.shape,
        seeds,
        subseeds=p.subseeds,
        subseed_strength=p.subseed_strength,
        seed_resize_from_h=p.seed_resize_from_h,
        seed_resize_from_w=p.seed_resize_from_w,
    )
    return directed(generator, animation)


def _least_signal() -> torch.Tensor:
    """The share of signal at the last timestep of the schedule in place.

    A checkpoint that comes back brings its own, until the next sampling: into this very tensor.
    """
    return shared.sd_model.alphas_cumprod[-1].clone()
