"""Animating: against slow formulas, and with nothing left behind."""

import numpy as np
import pytest
import torch

from animatediff_ext import animate as engine
from animatediff_ext.inject import MisfitError, injected
from animatediff_ext.motion import FAMILIES, IMAGE_SCHEDULE, MotionModel
from animatediff_ext.params import Animation, Context
from animatediff_ext.setting import SettingsError
from animatediff_ext.standalone import SAMPLERS, animate
from animatediff_ext.standalone.sampling import _set_steps, seeded_frames
from tests.models.motion import motion_config, random_motion
from tests.models.spatial import WIDTHS

SIZE = {"width": 32, "height": 32, "num_steps": 3}
FAMILY = {"SD 1.5": "v2", "SDXL": "sdxl-beta"}


def clip(num_frames=3, **context):
    return Animation(num_frames=num_frames, context=Context(**context))


def motion_for(spatial, family=None, make=random_motion):
    family = family or FAMILY[spatial.base]
    return make(motion_config(family, widths=WIDTHS[spatial.base], num_positions=16))


def slow_ddim(spatial, motion, *, num_frames, num_steps, cfg, seed, prompts):
    """Song et al., arXiv 2010.02502, equation 12 with sigma 0, in float64, one stream at a time."""
    schedule = motion.config.family.schedule if motion else spatial.schedule
    alphas = schedule.alphas_cumprod().double()
    stride = 1000 // num_steps
    x = seeded_frames(seed, num_frames, (4, 4, 4))[0].double()
    uncond, cond = (spatial.encode_text([prompt]).repeat_frames(num_frames) for prompt in prompts)

    def predict(timestep, conditioning):
        call = (x.float(), torch.full((num_frames,), timestep), conditioning)
        if motion is None:
            return spatial.predict(*call).double()
        with injected(spatial.unet, motion, num_frames=num_frames):
            return spatial.predict(*call).double()

    with torch.no_grad():
        for i in reversed(range(num_steps)):
            timestep = i * stride + 1
            before = timestep - stride
            a, a_before = alphas[timestep], alphas[before] if before >= 0 else torch.tensor(1.0).double()
            output = predict(timestep, uncond) + cfg * (predict(timestep, cond) - predict(timestep, uncond))
            if spatial.prediction == "v":
                noise = a.sqrt() * output + (1 - a).sqrt() * x
            else:
                noise = output
            clean = (x - (1 - a).sqrt() * noise) / a.sqrt()
            x = a_before.sqrt() * clean + (1 - a_before).sqrt() * noise
    return x.float()


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("moving", [True, False], ids=["moving", "stills"])
def test_ddim_is_the_papers_formula(moving, prediction, spatial, monkeypatch):
    monkeypatch.setattr(spatial, "prediction", prediction)
    steep = spatial.predict  # random weights make much of rounding
    monkeypatch.setattr(spatial, "predict", lambda *call: 0.01 * steep(*call))
    motion = motion_for(spatial) if moving else None
    settings = SIZE | {"num_steps": 5, "cfg": 2.0, "seed": 3, "sampler": "DDIM"}
    actual = animate(spatial, motion, prompt="cat", negative="dog", animation=clip(), **settings)
    expected = slow_ddim(spatial, motion, num_frames=3, num_steps=5, cfg=2.0, seed=3, prompts=("dog", "cat"))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_is_repeatable_and_moves_the_noise(sampler, spatial):
    motion = motion_for(spatial)
    runs = [animate(spatial, motion, prompt="cat", animation=clip(), sampler=sampler, seed=5, **SIZE) for _ in range(2)]
    torch.testing.assert_close(*runs, rtol=0, atol=0)
    assert runs[0].shape == (3, 4, 4, 4)
    assert runs[0].isfinite().all()
    other = animate(spatial, motion, prompt="cat", animation=clip(), sampler=sampler, seed=6, **SIZE)
    assert (runs[0] - other).abs().max() > 0.1


class Perfect:
    """Predicts the noise between any sample and one picture, so that every sampler must arrive at the picture."""

    def __init__(self, picture, prediction):
        self.picture = picture
        self.prediction = prediction
        self.alphas = IMAGE_SCHEDULE.alphas_cumprod()

    def __call__(self, x, timesteps, _conditioning):
        between = np.interp(timesteps.double(), range(1000), self.alphas.double())  # Karras' sigmas lie between
        a = torch.from_numpy(between).float().view(-1, 1, 1, 1)
        noise = (x - a.sqrt() * self.picture) / (1 - a).sqrt()
        return noise if self.prediction == "epsilon" else a.sqrt() * noise - (1 - a).sqrt() * self.picture


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_arrives_at_what_is_predicted(sampler, prediction, loaded, monkeypatch):
    spatial = loaded["SD 1.5"]
    picture = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(spatial, "prediction", prediction)
    monkeypatch.setattr(spatial, "predict", Perfect(picture, prediction))
    settings = SIZE | {"num_steps": 10}
    result = animate(spatial, None, prompt="cat", animation=clip(2), cfg=1, sampler=sampler, **settings)
    torch.testing.assert_close(result, picture.expand(2, -1, -1, -1), rtol=0.02, atol=0.02)


def test_without_guidance_the_negative_prompt_is_not_computed(spatial):
    rows = []
    handle = spatial.unet.register_forward_pre_hook(lambda _module, args: rows.append(len(args[0])))
    results = [
        animate(spatial, motion_for(spatial), prompt="cat", negative=text, animation=clip(), cfg=1, **SIZE)
        for text in ("dog", "bird")
    ]
    handle.remove()
    assert rows == [3] * 6
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_a_new_motion_module_gives_the_stills_of_no_module_on_its_schedule(spatial, monkeypatch):
    motion = motion_for(spatial, make=lambda config: MotionModel(config).eval())
    monkeypatch.setattr(spatial, "schedule", motion.config.family.schedule)
    settings = SIZE | {"prompt": "cat", "animation": clip(), "cfg": 2.0}
    torch.testing.assert_close(animate(spatial, motion, **settings), animate(spatial, None, **settings))


def test_a_motion_module_moves_the_frames(spatial):
    settings = SIZE | {"prompt": "cat", "animation": clip(), "cfg": 1.0}
    moving = animate(spatial, motion_for(spatial), **settings)
    assert (moving - animate(spatial, None, **settings)).abs().max() > 1e-2


def test_stills_do_not_depend_on_the_frames_beside_them(spatial):
    short, long = (
        animate(spatial, None, prompt="cat", animation=clip(n, length=2, overlap=0), sampler="Euler a", seed=9, **SIZE)
        for n in (2, 5)
    )
    torch.testing.assert_close(long[:2], short, rtol=1e-4, atol=1e-4 * short.abs().max().item())


def test_the_first_noise_of_a_frame_does_not_depend_on_the_length_of_the_clip():
    short, long = (seeded_frames(4, n, (4, 2, 2)) for n in (2, 6))
    torch.testing.assert_close(long[0][:2], short[0], rtol=0, atol=0)
    assert [g.initial_seed() for g in long[1][:2]] == [g.initial_seed() for g in short[1]]
    assert len({g.initial_seed() for g in long[1]}) == 6


def test_zero_frames_are_one_context(spatial):
    assert len(animate(spatial, None, prompt="cat", animation=clip(0, length=4), **SIZE)) == 4


def test_a_long_clip_runs_in_windows_that_follow_the_steps(loaded, monkeypatch):
    spatial, steps = loaded["SD 1.5"], []
    original = engine.windows_of

    def watched(context, num_frames, step=0):
        steps.append(step)
        return original(context, num_frames, step)

    monkeypatch.setattr(engine, "windows_of", watched)
    rows = []
    handle = spatial.unet.conv_in.register_forward_pre_hook(lambda _module, args: rows.append(len(args[0])))
    settings = {"prompt": "cat", "animation": clip(6, length=4, overlap=2, long_clips="windows"), "cfg": 1}
    result = animate(spatial, motion_for(spatial), **settings, **SIZE)
    handle.remove()
    assert result.shape == (6, 4, 4, 4)
    assert sorted(set(steps)) == [0, 1, 2]
    assert set(rows) == {4}


def test_no_global_random_numbers_are_touched(spatial):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    settings = SIZE | {"prompt": "cat", "animation": clip()}
    for sampler in SAMPLERS:
        first = animate(spatial, None, sampler=sampler, **settings)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(1)
        torch.testing.assert_close(animate(spatial, None, sampler=sampler, **settings), first, rtol=0, atol=0)
        torch.manual_seed(0)


def attached(spatial):
    return [
        (len(module._forward_hooks), len(module._forward_pre_hooks), "forward" in vars(module))
        for module in spatial.unet.modules()
    ]


class Stopped(Exception):
    pass


@pytest.mark.parametrize("family", ["v1", "v3"])
def test_nothing_stays_attached_also_after_a_stop(family, loaded):
    spatial, before = loaded["SD 1.5"], attached(loaded["SD 1.5"])
    motion = motion_for(spatial, family)
    weights = [parameter.data_ptr() for parameter in motion.parameters()]
    seen = []

    def stop(done, total):
        seen.append((done, total, attached(spatial) != before))
        if done == 2:
            raise Stopped

    settings = SIZE | {"prompt": "cat", "animation": clip()}
    with pytest.raises(Stopped):
        animate(spatial, motion, on_step=stop, **settings)
    assert seen == [(1, 3, True), (2, 3, True)]
    assert attached(spatial) == before
    animate(spatial, motion, **settings)
    assert attached(spatial) == before
    assert [parameter.data_ptr() for parameter in motion.parameters()] == weights


@pytest.mark.parametrize("num_steps", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_sampling_begins_at_noise_however_few_the_steps(sampler, num_steps):
    """FreeInit from coarse to fine begins with very few."""
    scheduler = SAMPLERS[sampler](IMAGE_SCHEDULE, "epsilon")
    _set_steps(scheduler, num_steps, sampler, torch.device("cpu"))
    assert len(scheduler.timesteps) == num_steps
    assert scheduler.timesteps[0] >= 800
    assert (scheduler.timesteps[1:] < scheduler.timesteps[:-1]).all()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"width": 33}, r"^The width is 33: give a multiple of 8, at least 8.$"),
        ({"height": 0}, r"^The height is 0: give a multiple of 8, at least 8.$"),
        ({"num_steps": 0}, r"^The number of steps is 0: give at least 1.$"),
        ({"sampler": "PLMS"}, r"^The sampler is 'PLMS': choose from DDIM, Euler, .*LCM.$"),
        ({"sampler": "LCM", "num_steps": 51}, r"^The sampler LCM cannot take 51 steps: give fewer.$"),
        ({"num_steps": 350}, r"^The sampler DDIM cannot take 350 steps: give fewer.$"),
        (
            {"sampler": "Euler SGM Uniform", "num_steps": 499},
            r"^The sampler Euler SGM Uniform cannot take 499 steps: give fewer.$",
        ),
        ({"num_steps": 1000}, r"^The sampler DDIM cannot take 1000 steps: give fewer.$"),
        (
            {"animation": clip(20, length=20)},
            r"^Context batch size is 20, but the motion module .* takes at most 16 frames",
        ),
    ],
)
def test_what_cannot_be_says_so(changed, sentence, loaded):
    spatial = loaded["SD 1.5"]
    settings = SIZE | {"prompt": "cat", "animation": clip()} | changed
    with pytest.raises(SettingsError, match=sentence):
        animate(spatial, motion_for(spatial), **settings)


def test_a_motion_module_for_another_base_says_so(loaded):
    motion = motion_for(loaded["SDXL"])
    with pytest.raises(MisfitError, match=r"SDXL-beta\) was made for 3 levels of .* has 4 levels of .*: choose"):
        animate(loaded["SD 1.5"], motion, prompt="cat", animation=clip(), **SIZE)


def test_bases_are_the_words_of_the_families(loaded):
    assert {model.base for model in loaded.values()} == {family.base for family in FAMILIES.values()}
