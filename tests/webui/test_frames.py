"""What the motion modules see of each evaluation: whole clips, one stream at a time, whatever rows the host sends.

The reference runs the UNet by hand: one prompt at a time, all frames of one clip, with formulas written out.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import torch

from animatediff_ext.animate import windows_of
from animatediff_ext.context.old import old_uniform
from animatediff_ext.formats import load_motion_module
from animatediff_ext.inject import injected
from animatediff_ext.params import from_api
from tests.webui.generations import HIRES, script
from tests.webui.host import NUM_FRAMES, picture, request

LONG = "one two three four five six seven eight nine ten"  # more than a chunk of the host's text encoder


@dataclass
class Case:
    request: dict = field(default_factory=dict)
    parts: tuple = (("a cat", 1.0),)
    later_parts: tuple = ()
    """What the prompt has become in the second half of the steps."""
    negative: str = "blue"
    skipped: tuple = ()
    """Steps without a negative prompt."""
    options: dict = field(default_factory=dict)
    animation: dict = field(default_factory=dict)
    repeat_last_token: tuple = ()
    """Parts that the host fills up to the longest one by repeating their last token."""


CASES = {
    "one prompt": Case(),
    "CFG 1": Case({"cfg_scale": 1.0}),
    "two parts": Case({"prompt": "a cat AND a dog :0.8"}, parts=(("a cat", 1.0), ("a dog", 0.8))),
    "three parts": Case(
        {"prompt": "a cat :0.5 AND a dog AND a tree :0.25"}, parts=(("a cat", 0.5), ("a dog", 1.0), ("a tree", 0.25))
    ),
    "long prompt": Case({"prompt": LONG}, parts=((LONG, 1.0),)),
    "long negative prompt": Case({"negative_prompt": LONG}, negative=LONG),
    "a long part": Case(
        {"prompt": f"{LONG} AND a dog"}, parts=((LONG, 1.0), ("a dog", 1.0)), repeat_last_token=("a dog",)
    ),
    "skipped early": Case(skipped=(0,), options={"skip_early_cond": 0.4}),
    "skipped at low noise": Case({"s_min_uncond": 40.0}, skipped=(1,)),
    "skipped with two parts": Case(
        {"s_min_uncond": 40.0, "prompt": "a cat AND a dog"}, parts=(("a cat", 1.0), ("a dog", 1.0)), skipped=(1,)
    ),
    "skipped with a long prompt": Case({"s_min_uncond": 40.0, "prompt": LONG}, parts=((LONG, 1.0),), skipped=(1,)),
    "prompt that changes": Case({"prompt": "a [cat:dog:0.1]"}, later_parts=(("a dog", 1.0),)),
    "norms over a clip": Case(
        {"prompt": "a cat AND a dog"}, parts=(("a cat", 1.0), ("a dog", 1.0)), animation={"model": "v1.safetensors"}
    ),
    "windows": Case(
        {"prompt": "a cat AND a dog"},
        parts=(("a cat", 1.0), ("a dog", 1.0)),
        animation={"video_length": 7, "batch_size": 4, "overlap": 1, "long_clips": "windows"},
    ),
    "windows of which the last wins": Case(
        animation={"video_length": 9, "batch_size": 4, "overlap": 2, "stride": 2, "old_numerics": True}
    ),
}


@torch.no_grad()
def sampled_by_hand(host, case: Case, motion, steps=2):
    """The latents of an animation, evaluated stream by stream."""
    encode = host.module("prompt_parser").encode
    animation = from_api(request(**case.animation))[0].resolved()
    num_frames = animation.num_frames
    alphas = (1 - torch.linspace(0.00085, 0.012, 1000)).cumprod(0)  # the official code's linear betas
    of_model = ((1 - alphas) / alphas).sqrt()
    sigmas = [*of_model[torch.linspace(999, 0, steps + 1)[:-1].round().long()].tolist(), 0.0]
    noise = [torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(7 + i)) for i in range(num_frames)]
    x = torch.stack(noise) * sigmas[0]

    def tokens_of(text, longest):
        tokens = encode(text)
        while len(tokens) < longest:
            tokens = torch.cat([tokens, tokens[-1:] if text in case.repeat_last_token else encode("")])
        return tokens

    def denoised(text, sigma, step, longest):
        t = (of_model - sigma).abs().argmin()
        answer, total = torch.zeros_like(x), torch.zeros(num_frames)

        def predicted(frames):
            with injected(host.unet, motion, num_frames=len(frames)):
                context = tokens_of(text, longest).repeat(len(frames), 1, 1)
                return host.unet(x[frames] / (sigma**2 + 1) ** 0.5, t.repeat(len(frames)), context=context)

        if animation.old_numerics:
            settings = animation.context
            for frames in old_uniform(
                num_frames, settings.length, settings.overlap, settings.stride, settings.closed_loop, step
            ):
                answer[frames] = predicted(frames)
            return x - sigma * answer
        for frames, weights in windows_of(animation.context, num_frames, step):
            noise = predicted(list(frames))
            for i, frame in enumerate(frames):
                answer[frame] += weights[i] * noise[i]
                total[frame] += weights[i]
        torch.testing.assert_close(total, torch.ones(num_frames))
        return x - sigma * answer

    for step, (sigma, following) in enumerate(pairwise(sigmas)):
        parts = case.later_parts if case.later_parts and step >= steps / 2 else case.parts
        skip = step in case.skipped
        longest = max(len(encode(text)) for text in (*(text for text, _ in parts), case.negative))
        predictions = [(denoised(text, sigma, step, longest), weight) for text, weight in parts]
        base = predictions[0][0] if skip else denoised(case.negative, sigma, step, longest)
        scale = 1.0 if skip else case.request.get("cfg_scale", 5.0)
        guided = base + sum(scale * weight * (prediction - base) for prediction, weight in predictions)
        x = x + (x - guided) / sigma * (following - sigma)
    return x


def sampled(host, case: Case, **changes):
    """The latents that the host's ``p.sample`` returns."""
    p = host.p(case.animation, **{**case.request, **changes})
    latents = []
    p.scripts.scripts.append(
        type(
            "Watcher",
            (host.module("scripts").Script,),
            {"post_sample": lambda self, p, samples, *args: latents.append(samples.samples)},
        )()
    )
    host.run(p)
    return latents


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_stream_goes_through_the_motion_modules_as_one_clip(host, motion_modules, case):
    """With the option to run all rows in one call, and to run positive and negative prompts apart."""
    host.opts.data.update(case.options)
    motion = load_motion_module(motion_modules / case.animation.get("model", "v2.safetensors"))
    expected = sampled_by_hand(host, case, motion)
    for together in (True, False):
        (latents,) = sampled(host, case, override_settings={"batch_cond_uncond": together})
        torch.testing.assert_close(latents, expected, rtol=1e-3, atol=1e-3 * expected.std().item())


def test_the_reference_can_fail(host, motion_modules):
    """It tells a clip from its frames in another order, and motion from none."""
    case = CASES["two parts"]
    (latents,) = sampled(host, case)
    weak = load_motion_module(motion_modules / "v2.safetensors")
    for name, parameter in weak.named_parameters():
        if name.endswith("temporal_transformer.proj_out.weight"):
            parameter.mul_(0.9)
    assert (latents - sampled_by_hand(host, case, weak)).abs().max() > 0.01 * latents.std()


def test_separate_calls_bring_one_stream_at_a_time(host):
    """The option that saves memory is honoured, though the host hands over all rows together."""
    rows = []
    hook = host.unet.input_blocks[0].register_forward_hook(lambda _block, args, _output: rows.append(len(args[0])))
    sampled(host, CASES["two parts"])
    assert set(rows) == {3 * NUM_FRAMES}
    rows.clear()
    sampled(host, CASES["two parts"], override_settings={"batch_cond_uncond": False})
    assert set(rows) == {NUM_FRAMES}
    hook.remove()


@pytest.mark.parametrize("fields", [{}, {"init_images": [picture()]}, HIRES], ids=["txt2img", "img2img", "hires"])
def test_samplers_have_the_noise_levels_of_the_motion_module(host, fields):
    """Also one that the host made before: img2img makes it once for all videos."""
    seen = []
    look = script(host, process_before_every_sampling=lambda p, *a, **k: seen.append(p.sampler.model_wrap.sigmas))
    host.generate({}, scripts=[look], n_iter=2, **fields)
    alphas = (1 - torch.linspace(0.00085, 0.012, 1000)).cumprod(0)
    assert len(seen) == (4 if fields is HIRES else 2)
    for sigmas in seen:
        torch.testing.assert_close(sigmas, ((1 - alphas) / alphas).sqrt(), rtol=1e-4, atol=1e-5)


def test_sdxl_conditioning_is_filled_up_too(host):
    """Tokens and pooled vector in a dictionary of the host's own class, which stays that class."""

    class DictWithShape(dict):
        pass

    encode = host.module("prompt_parser").encode
    cond = DictWithShape(crossattn=encode(LONG)[None].repeat(8, 1, 1), vector=torch.randn(8, 5))
    uncond = DictWithShape(crossattn=encode("x")[None].repeat(4, 1, 1), vector=torch.randn(4, 5))
    for a, b in [(cond, uncond), (uncond, cond)]:
        padded = dict(zip("ab", host.webui("conditioning").of_equal_length(a, b), strict=True))
        assert [type(side) for side in padded.values()] == [DictWithShape, DictWithShape]
        assert {side["crossattn"].shape[1] for side in padded.values()} == {6}
        assert padded["a"]["vector"] is a["vector"]
    assert uncond["crossattn"].shape[1] == 3, "the host's own tensors stay as they are"


@pytest.mark.parametrize(
    ("option", "value"), [("use_downcasted_alpha_bar", True), ("sd_noise_schedule", "Zero Terminal SNR")]
)
def test_settings_of_the_noise_schedule_act_on_that_of_the_motion_module(host, option, value):
    seen = []
    host.callbacks.on_cfg_denoiser(lambda params: seen.append(host.shared.sd_model.alphas_cumprod.clone()))
    host.generate({}, override_settings={option: value})
    host.callbacks.callback_map["cfg_denoiser"].pop()
    ours = (1 - torch.linspace(0.00085, 0.012, 1000)).cumprod(0)
    model = type("Model", (), {"alphas_cumprod_original": ours, "alphas_cumprod": ours})()
    before = host.opts.data[option]
    host.opts.data[option] = value
    host.sd_models.apply_alpha_schedule_override(model)
    host.opts.data[option] = before
    assert len(seen) == 2
    for alphas in seen:
        assert alphas.dtype == model.alphas_cumprod.dtype
        torch.testing.assert_close(alphas, model.alphas_cumprod)
    torch.testing.assert_close(host.shared.sd_model.alphas_cumprod_original, host.sd_models.make_schedule())
