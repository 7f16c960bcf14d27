"""Animating with a `SpatialModel`: noise → latents, with or without motion modules.

Axes: b rows at the UNet, f frames, c channels, h height, w width (of latents).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from diffusers import SchedulerMixin

from animatediff_ext.animate import Session
from animatediff_ext.direct import LoraWeight
from animatediff_ext.formats import LoraFile
from animatediff_ext.inject.attach import Blend
from animatediff_ext.motion import MotionModel
from animatediff_ext.noise import mixed, seed_offsets, sources_of
from animatediff_ext.params import Animation
from animatediff_ext.setting import SettingsError
from animatediff_ext.standalone.frame_conditioning import encoded
from animatediff_ext.standalone.free_init import sample_repeatedly
from animatediff_ext.standalone.samplers import SAMPLERS
from animatediff_ext.standalone.spatial import Conditioning, SpatialModel

OnStep = Callable[[int, int], None]
"""``on_step(steps done, steps in all)``, after each step; it may raise to stop."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """Pictures that sampling starts from, in place of noise alone."""

    latents: torch.Tensor
    """``(f c h w)`` float32"""
    strength: float
    """Share of the steps that are taken, from the noise of the first of them on: at 0 the pictures stay as they are, at
    1 nothing is left of them."""


def animate(
    spatial: SpatialModel,
    motion: MotionModel | Blend | None,
    *,
    prompt: str,
    negative: str = "",
    animation: Animation,
    clip_skip: int = 1,
    cfg: float = 7.5,
    **how,
) -> torch.Tensor:
    """Latents of one clip, ``(f c h w)`` float32 on the model's device; `SpatialModel.decode` makes frames of them.

    With ``cfg`` up to 1 the negative prompt has no effect and is not computed. The other arguments are those of
    `sample`.
    """
    conditioning = encoded(spatial, prompt, negative, animation.resolved(), clip_skip=clip_skip, cfg=cfg)
    return sample(spatial, motion, conditioning, animation=animation, cfg=cfg, **how)


@torch.no_grad()
def sample(
    spatial: SpatialModel,
    motion: MotionModel | Blend | None,
    conditioning: Conditioning,
    *,
    animation: Animation,
    loras: Sequence[tuple[LoraFile, LoraWeight]] = (),
    width: int,
    height: int,
    num_steps: int = 25,
    cfg: float = 7.5,
    seed: int = 0,
    sampler: str = "DDIM",
    start: Start | None = None,
    streams_at_once: int | None = None,
    on_step: OnStep | None = None,
) -> torch.Tensor:
    """Latents of one clip, ``(f c h w)`` float32 on the UNet's device.

    ``conditioning`` has the rows of `encoded`. ``width`` and ``height`` are in pixels. Without motion modules the
    frames are stills that know nothing of each other. ``loras`` are of the motion, with weights that may travel.
    ``streams_at_once=1`` runs negative and prompt one after the other, to save memory. With FreeInit the clip is
    sampled several times, and steps count on. Nothing stays attached to the UNet, and no global random state is read
    or changed.

    Raises `SettingsError` for values that cannot be, and `inject.MisfitError` for motion modules of another kind.
    """
    animation = animation.resolved()
    _check(spatial, width=width, height=height, num_steps=num_steps, sampler=sampler)
    blend: Blend = [(motion, 1.0)] if isinstance(motion, MotionModel) else motion or []
    schedule = blend[0][0].config.family.schedule if blend else spatial.schedule
    device = spatial.unet.device
    conditioning = conditioning.to(device, spatial.unet.dtype)
    size = (spatial.unet.config.in_channels, height // spatial.vae_factor, width // spatial.vae_factor)
    free_init = animation.free_init
    rounds = free_init.num_iterations if free_init.enabled else 1
    steps_of_rounds = [free_init.steps_of(i, num_steps) for i in range(1, rounds + 1)] if rounds > 1 else [num_steps]
    count = _Counter(on_step, sum(steps_taken(steps, start) for steps in steps_of_rounds))

    def noise(offset: int = 0) -> torch.Tensor:
        return frames_noise(animation, seed + offset, size)[0].to(device)

    with _predictor(spatial, blend, animation, loras, streams_at_once) as predict:

        def once(first_noise: torch.Tensor, num_steps: int = num_steps) -> torch.Tensor:
            scheduler = SAMPLERS[sampler](schedule, spatial.prediction)
            _set_steps(scheduler, num_steps, sampler, device)
            x, timesteps = _begun(scheduler, first_noise, start)  # f c h w
            generators = frames_noise(animation, seed, size)[1]
            for step, timestep in enumerate(timesteps):
                scaled = scheduler.scale_model_input(x, timestep)
                rows = scaled.repeat(len(conditioning.tokens) // len(x), 1, 1, 1)
                prediction = _guided(predict(step, len(timesteps), rows, timestep, conditioning), cfg)
                x = _stepped(scheduler, prediction, timestep, x, generators)
                count.step()
            return x

        if not free_init.enabled:
            return once(noise())
        least_signal = schedule.alphas_cumprod()[-1]
        rounds_of = [partial(once, num_steps=steps) for steps in steps_of_rounds]
        return sample_repeatedly(free_init, rounds_of, noise(), lambda i: noise(i * seed_offsets.FRESH), least_signal)


def steps_taken(num_steps: int, start: Start | None) -> int:
    """``strength`` of them where there are pictures to start from: at least one, unless it is 0."""
    if start is None or start.strength == 1:
        return num_steps
    return max(round(num_steps * start.strength), 1 if start.strength else 0)


def _begun(scheduler: SchedulerMixin, noise: torch.Tensor, start: Start | None) -> tuple[torch.Tensor, torch.Tensor]:
    """What the first step reads, and the timesteps of all that are taken."""
    timesteps = scheduler.timesteps
    if start is None or start.strength == 1:
        return noise * scheduler.init_noise_sigma, timesteps
    skipped = len(timesteps) - steps_taken(len(timesteps), start)
    picture = start.latents.to(noise)
    if skipped == len(timesteps):
        return picture, timesteps[skipped:]
    if hasattr(scheduler, "set_begin_index"):  # those that count their steps themselves
        scheduler.set_begin_index(skipped)
    return scheduler.add_noise(picture, noise, timesteps[skipped : skipped + 1]), timesteps[skipped:]


class _Counter:
    """Tells how many steps are done, over all rounds."""

    def __init__(self, on_step: OnStep | None, total: int):
        self._on_step = on_step
        self._total = total
        self._done = 0

    def step(self) -> None:
        self._done += 1
        if self._on_step:
            self._on_step(self._done, self._total)


def _check(spatial: SpatialModel, *, width: int, height: int, num_steps: int, sampler: str) -> None:
    multiple = spatial.vae_factor
    for name, side in (("width", width), ("height", height)):
        if side < multiple or side % multiple:
            raise SettingsError(f"The {name} is {side}: give a multiple of {multiple}, at least {multiple}.")
    if num_steps < 1:
        raise SettingsError(f"The number of steps is {num_steps}: give at least 1.")
    if sampler not in SAMPLERS:
        raise SettingsError(f"The sampler is {sampler!r}: choose from {', '.join(SAMPLERS)}.")


_LEAST_SHARE_OF_TIMESTEPS = 0.8
"""Sampling that begins below this share of the timesteps begins far from pure noise, which is what it is given."""


def _set_steps(scheduler: SchedulerMixin, num_steps: int, sampler: str, device: torch.device) -> None:
    """LCM knows 50 timesteps only, DDIM's begin at 1, and none of them has more than the model.

    Those of DDIM are whole numbers apart: of 600 steps none would begin above timestep 600. Of very few none would
    either (a single one of Euler would be at 0), since they count from the other end: these count from pure noise.
    """
    most = scheduler.config.num_train_timesteps
    least = _LEAST_SHARE_OF_TIMESTEPS * most
    try:
        scheduler.set_timesteps(num_steps, device=device)
        if scheduler.timesteps[0] < least <= num_steps * (most // num_steps):
            scheduler.register_to_config(timestep_spacing="trailing")
            scheduler.set_timesteps(num_steps, device=device)
        possible = least <= scheduler.timesteps[0] < most and scheduler.timesteps[-1] >= 0
    except ValueError:
        possible = False
    if not possible:
        raise SettingsError(f"The sampler {sampler} cannot take {num_steps} steps: give fewer.")


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


def frames_noise(
    animation: Animation, seed: int, size: tuple[int, int, int]
) -> tuple[torch.Tensor, list[torch.Generator]]:
    """As `seeded_frames`, of the kind that the animation asks for; samplers then draw by the same rule.

    *mixed* noise has its common part at the beginning only: samplers add noise of their own frame by frame.
    """
    noise, generators = seeded_frames(seed, animation.num_frames, size)
    if animation.noise.kind == "mixed":
        common = seeded_frames(seed + seed_offsets.COMMON, 1, size)[0]
        return mixed(noise, common, animation.noise.share), generators
    sources = sources_of(animation, seed)
    same = [torch.Generator().manual_seed(generators[source].initial_seed()) for source in sources]
    return noise[sources], same


Predict = Callable[[int, int, torch.Tensor, torch.Tensor, Conditioning], torch.Tensor]
"""``predict(step, num_steps, x (b c h w), timestep (), conditioning of b rows) -> (b c h w)``"""


@contextmanager
def _predictor(
    spatial: SpatialModel,
    blend: Blend,
    animation: Animation,
    loras: Sequence[tuple[LoraFile, LoraWeight]],
    streams_at_once: int | None,
) -> Iterator[Predict]:
    """The UNet with the motion modules in it, or without any: then only as many rows at once as one context has."""
    if not blend:
        yield lambda _step, _num_steps, *call: _in_parts(spatial, animation.context.length, *call)
        return
    with Session(animation, blend, loras=loras, streams_at_once=streams_at_once) as session:
        session.attach(spatial.unet, device=spatial.unet.device, dtype=spatial.unet.dtype)

        def predict(step: int, num_steps: int, x, timestep: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
            session.at_step(step, num_steps, num_rows=len(x), height=x.shape[-2], width=x.shape[-1])
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
