"""Whatever happens in a generation, the host is as it was afterwards."""

from functools import cache
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from tests.models.ldm_unet import SpatialTransformer
from tests.webui.generations import HIRES, at_step, encoded, same, script, without_motion
from tests.webui.host import NUM_FRAMES, as_base64, fingerprint, is_file, picture


@pytest.mark.usefixtures("unchanged")
class TestTheHostIsAsItWas:
    """After each of these: hooks, forwards, noise schedule, names, options, and plain stills bit by bit."""

    @pytest.mark.parametrize("module", ["v1.safetensors", "v2.safetensors"])
    def test_after_an_animation(self, host, module):
        frames = host.generate({"model": module}).images
        assert len(frames) == NUM_FRAMES
        assert not same(frames, without_motion(host))

    def test_after_windows_and_several_videos(self, host):
        assert len(host.generate({"video_length": 5, "batch_size": 3}, n_iter=2).images) == 10

    def test_after_hires_fix(self, host):
        assert [frame.size for frame in host.generate({}, **HIRES).images] == [(64, 64)] * NUM_FRAMES

    def test_after_img2img(self, host):
        assert len(host.generate({}, init_images=[picture()]).images) == NUM_FRAMES

    @pytest.mark.parametrize("request_", [{}, HIRES, {"n_iter": 2}], ids=["first", "hires", "two videos"])
    def test_after_an_error_in_the_unet(self, host, monkeypatch, request_):
        calls = []
        forward = SpatialTransformer.forward

        def failing(self, x, context):
            calls.append(x)
            if len(calls) == (12 if request_ else 4):
                raise RuntimeError("of the UNet")
            return forward(self, x, context)

        with monkeypatch.context() as patch:
            patch.setattr(SpatialTransformer, "forward", failing)
            with pytest.raises(RuntimeError, match="of the UNet") as problem:
                host.generate({}, **request_)
        assert problem.value.__cause__ is not problem.value, "which some printers of traces would follow for ever"

    def test_after_an_error_in_a_callback_of_another_extension(self, host):
        def fail(_params):
            raise RuntimeError("of another script")

        calls = at_step(host, 1, fail)
        assert len(host.generate({}).images) == NUM_FRAMES
        assert len(calls) == 2

    @pytest.mark.parametrize("hook", ["before_process", "process_before_every_sampling", "postprocess_batch"])
    def test_after_an_error_in_another_script(self, host, hook):
        def fail(*_args, **_kwargs):
            raise RuntimeError("of another script")

        assert len(host.generate({}, scripts=[script(host, **{hook: fail})]).images) == NUM_FRAMES

    @pytest.mark.parametrize(
        ("request_", "step"), [({}, 0), ({}, 1), (HIRES, 1), (HIRES, 2)], ids=["first", "last", "hires", "second pass"]
    )
    @pytest.mark.parametrize("button", ["interrupted", "skipped"])
    def test_after_an_interrupt_or_a_skip(self, host, button, step, request_):
        at_step(host, step, lambda _params: setattr(host.shared.state, button, True))
        assert len(host.generate({}, **request_).images) == NUM_FRAMES

    def test_after_a_module_that_does_not_fit(self, host):
        with pytest.raises(host.error, match="was made for"):
            host.generate({"model": "other layout.safetensors"})

    @pytest.mark.parametrize("checkpoint", ["second", "pruned"])
    @pytest.mark.parametrize("request_", [{}, HIRES], ids=["first pass", "hires fix"])
    def test_after_a_refiner_in_the_same_unet(self, host, request_, checkpoint):
        frames = host.generate({}, refiner_checkpoint=checkpoint, n_iter=2, **request_).images
        assert len(frames) == 2 * NUM_FRAMES
        assert not same(frames[:NUM_FRAMES], host.generate({}, **request_).images)

    @pytest.mark.parametrize("checkpoint", ["second", "pruned"])
    def test_after_hires_fix_with_another_checkpoint_in_the_same_unet(self, host, checkpoint):
        frames = host.generate({}, **HIRES, hr_checkpoint_name=checkpoint).images
        assert not same(frames, host.generate({}, **HIRES).images)

    def test_after_another_checkpoint_for_one_request(self, host):
        """It is loaded after *before_process*."""
        frames = host.generate({}, override_settings={"sd_model_checkpoint": "second"}).images
        assert not same(frames, host.generate({}).images)

    @pytest.mark.parametrize(
        "request_",
        [
            {**HIRES, "hr_checkpoint_name": "second"},
            {"refiner_checkpoint": "second", "n_iter": 2},
            {**HIRES, "refiner_checkpoint": "second"},
            {"override_settings": {"sd_model_checkpoint": "second"}},
        ],
        ids=["hires", "refiner", "refiner in both passes", "override"],
    )
    def test_after_a_swap_to_another_unet(self, host, request_):
        """Motion modules leave one UNet for the other, and both are as they were."""
        in_same_unet = host.generate({}, **request_).images
        host.sd_models.reload_model_weights()
        with host.sd_models.weights_in_new_objects() as loaded:
            frames = host.generate({}, **request_).images
            assert same(frames, in_same_unet)
            host.sd_models.reload_model_weights()
            (second,) = [model for known, model in loaded.items() if known.name == "second"]
        fresh = fingerprint(host.sd_models.LatentDiffusion(second.sd_checkpoint_info))
        left = fingerprint(second)
        assert {key: left[key] for key in left if key != "parameters"} == {
            key: fresh[key] for key in fresh if key != "parameters"
        }

    @pytest.mark.parametrize(
        "request_",
        [{**HIRES, "hr_checkpoint_name": "other layout"}, {"refiner_checkpoint": "other layout"}],
        ids=["hires", "refiner"],
    )
    def test_after_a_swap_to_a_checkpoint_that_does_not_fit(self, host, request_):
        with host.sd_models.weights_in_new_objects() as loaded:
            with pytest.raises(host.error, match="was made for"):
                host.generate({}, **request_)
            host.sd_models.reload_model_weights()
            (other,) = [model for known, model in loaded.items() if known.name == "other layout"]
        assert not any(fingerprint(other)["hooks"][name] != ([], []) for name in fingerprint(other)["hooks"])
        torch.testing.assert_close(other.alphas_cumprod, host.sd_models.make_schedule())


def test_a_setting_of_the_user_is_not_written_while_all_rows_go_together(host):
    host.opts.data["batch_cond_uncond"] = False
    during = []
    at_step(host, 0, lambda _p: during.append((host.opts.batch_cond_uncond, host.opts.data["batch_cond_uncond"])))
    host.generate({})
    assert during == [(True, False)]
    assert host.opts.batch_cond_uncond is False


def test_an_interrupt_ends_the_step_between_two_windows(host):
    runs = []

    def interrupt(*_args):
        runs.append(1)
        host.shared.state.interrupted = True

    hook = host.unet.middle_block.register_forward_hook(interrupt)
    assert len(host.generate({"video_length": 9, "batch_size": 3, "overlap": 0}).images) == 9
    hook.remove()
    assert len(runs) == 1


def test_an_interrupt_before_a_sampler_runs_ends_the_video_when_it_does(host):
    """*img2img alternative test* runs the UNet to find noise, where nobody catches what ends a sampling."""
    p = host.p({}, init_images=[picture()])
    sample, calls = p.sample, []

    def find_noise_and_sample(*args, **how):
        host.shared.state.interrupted = True
        model = host.shared.sd_model
        cond = {"c_crossattn": [model.cond_stage_model_empty_prompt.repeat(NUM_FRAMES, 1, 1)]}
        model.apply_model(p.init_latent, torch.zeros(NUM_FRAMES), cond)
        calls.append(1)
        return sample(*args, **how)

    p.sample = find_noise_and_sample
    host.run(p)
    assert calls == [1]


@pytest.mark.parametrize(("button", "num_videos"), [("interrupted", 1), ("skipped", 2), ("stopping_generation", 1)])
def test_buttons_end_this_video_or_all(host, button, num_videos):
    at_step(host, 0, lambda _params: setattr(host.shared.state, button, True))
    assert len(host.generate({}, n_iter=2).images) == num_videos * NUM_FRAMES


@pytest.mark.parametrize("api", [True, False])
def test_an_interrupt_before_sampling_gives_nothing_and_says_why(host, api):
    """The WebUI answers a still that was interrupted so early in the same way: 200, and no picture."""
    stop = script(host, process=lambda *_: setattr(host.shared.state, "interrupted", True))
    processed = host.generate({"format": ["GIF"]}, scripts=[stop], api=api)
    assert processed.images == []
    assert "interrupted before the first step" in processed.comments
    assert ("AnimateDiff comments" in processed.extra_generation_params) == api


def test_batch_count_is_the_number_of_videos_and_seeds_go_on(host):
    """Each frame's noise is that of the still with its seed; the WebUI's batch size does not count."""
    noises = []
    watch = script(host, process_before_every_sampling=lambda p, *a, noise, **k: noises.append(noise.clone()))
    processed = host.generate({}, n_iter=2, batch_size=3, scripts=[watch])
    assert processed.all_seeds == list(range(7, 7 + 2 * NUM_FRAMES))
    assert len(processed.images) == 2 * NUM_FRAMES
    for i, noise in enumerate(torch.cat(noises)):
        torch.testing.assert_close(noise, torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(7 + i)))


def test_a_sampler_that_another_extension_keeps_follows_our_noise_schedule(host, monkeypatch):
    """Tiled Diffusion is around it, and hands it out again: img2img has made it before the schedule is in place."""
    expected = host.generate({}, init_images=[picture()], n_iter=2).images
    samplers = host.module("sd_samplers")
    monkeypatch.setattr(samplers, "create_sampler", cache(samplers.create_sampler))
    assert same(host.generate({}, init_images=[picture()], n_iter=2).images, expected)


def test_a_list_of_prompts_is_one_video_for_each(host):
    """As *Prompt matrix* makes it, with a seed for each."""
    given = {"prompt": ["a cat", "a dog"], "negative_prompt": ["x", "y"], "seed": [7, 20]}
    p = host.p({}, **given, batch_size=2)
    first, second = host.run(p).images
    assert same([first], host.generate({}, prompt="a cat", negative_prompt="x", seed=7).images[:1])
    assert same([second], host.generate({}, prompt="a dog", negative_prompt="y", seed=20).images[:1])
    assert {name: getattr(p, name) for name in given} == given


def test_a_list_of_negative_prompts_counts_as_well(host):
    given = {"prompt": "a cat", "negative_prompt": ["x", "y"], "seed": [7, 20]}
    _, second = host.generate({"format": ["PNG"]}, **given).images
    alone = host.generate({"format": ["PNG"]}, prompt="a cat", negative_prompt="y", seed=20)
    assert same([second], alone.images[:1])


def test_one_prompt_for_all_frames_of_a_video(host):
    """Wildcards give every picture of a batch a prompt of its own."""

    def fill(p, *_args):
        p.all_prompts = [f"cat {i}" for i in range(len(p.all_prompts))]
        p.all_negative_prompts = [f"dog {i}" for i in range(len(p.all_prompts))]
        p.all_hr_prompts = [f"tree {i}" for i in range(len(p.all_prompts))]

    processed = host.generate({}, n_iter=2, scripts=[script(host, process=fill)], **HIRES)
    assert processed.all_prompts == ["cat 0"] * NUM_FRAMES + [f"cat {NUM_FRAMES}"] * NUM_FRAMES
    assert [text.split("\n")[:2] for text in processed.infotexts[::NUM_FRAMES]] == [
        ["cat 0", "Negative prompt: dog 0"],
        [f"cat {NUM_FRAMES}", f"Negative prompt: dog {NUM_FRAMES}"],
    ]


def test_upscaling_one_picture_of_the_gallery_is_left_to_the_webui(host):
    p = host.p({}, firstpass_image=picture(), **HIRES)
    p.txt2img_upscale = True
    processed = host.run(p)
    assert [image.size for image in processed.images] == [(64, 64)]
    assert "upscales a single image" in processed.comments


@pytest.mark.parametrize("title", ["SD upscale", "Poor man's outpainting", "Outpainting mk2", "Loopback"])
def test_scripts_that_put_tiles_together_get_single_pictures(host, title):
    p = host.p({"format": ["GIF"]}, init_images=[picture()])
    p.script_args = (1, *p.script_args)
    host.script.args_from, host.script.args_to = 1, len(p.script_args)
    p.scripts.selectable_scripts = [SimpleNamespace(title=lambda: title)]
    processed = host.run(p)
    is_left = f"{title} puts single pictures together" in (processed.comments or "")
    assert (is_left, is_file(processed.images[0])) == ((False, True) if title == "Loopback" else (True, False))


@pytest.mark.parametrize("formats", [["GIF", "MP4"], ["MP4", "Frame"], ["PNG"]])
def test_prompt_matrix_gets_a_picture_for_each_prompt(host, formats):
    processed = host.generate({"format": formats}, prompt=["a cat", "a dog", "a bird"])
    assert len(processed.images) == 3
    assert "the answer has the first of each" in processed.comments


def test_off_is_off(host):
    """In the page and in the API, whatever the other fields say: an empty field, no module, a rival."""
    plain = host.generate(batch_size=2).images
    host.module("extensions").extensions.append(host.module("extensions").Extension("/x/sd-webui-animatediff"))
    for fields in (
        {"enable": False},
        {"enable": False, "model": None},
        {"enable": False, "video_length": None},
        {"enable": False, "format": []},
        {"enable": False, "overlap": 30},
        {"enable": "false", "fps": 0},
    ):
        for api in (True, False):
            assert same(host.generate(fields, batch_size=2, api=api).images, plain), fields


def test_several_pictures_in_img2img_are_the_frames(host):
    pictures = [picture(colour) for colour in ("red", "green", "blue")]
    latents = []
    watch = script(host, process_before_every_sampling=lambda p, *a, x, **k: latents.append(x))
    processed = host.generate({"video_length": 0}, init_images=pictures, scripts=[watch])
    assert len(processed.images) == 3
    for latent, expected in zip(latents[0], pictures, strict=True):
        torch.testing.assert_close(latent, encoded(host, expected))
    assert len(host.generate({"video_length": 2}, init_images=pictures).images) == 2


@pytest.mark.parametrize("settings", [{"last_frame": as_base64(picture("blue"))}, {"latent_power": 2.0}])
def test_of_several_pictures_no_last_frame_is_made_which_is_mentioned(host, settings):
    """Then there is nothing to mix, and nothing fails."""
    processed = host.generate({"video_length": 2, **settings}, init_images=[picture(), picture()])
    assert len(processed.images) == 2
    assert "(last_frame, latent_power and latent_scale) were not used" in processed.comments
    plain = host.generate({"video_length": 2, "last_frame": ""}, init_images=[picture(), picture()])
    assert "not used" not in plain.comments


def test_pictures_of_several_sizes_are_frames_of_one_unless_only_the_masked_part_is_made(host):
    pictures = [picture(size=64), picture(size=96), picture()]
    fields = {"init_images": pictures, "image_mask": Image.new("L", (64, 64), 255)}
    masked = {**fields, "inpaint_full_res": True}
    calls = at_step(host, 99, None)
    with pytest.raises(host.error, match=r"sizes of 64×64, 96×96, 32×32, but with Only masked.*inpaint_full_res false"):
        host.generate({"video_length": 0}, **masked)
    with pytest.raises(host.error, match=r"but with Just resize \(latent upscale\) each.*another resize mode"):
        host.generate({"video_length": 0}, init_images=pictures, resize_mode=3)
    assert calls == []
    for animation, request_ in [
        ({"video_length": 0}, fields),
        ({"video_length": 0}, {**masked, "resize_mode": 3, "init_images": pictures[:1] * 3}),
        ({"video_length": 1}, masked),
        ({"video_length": 0}, {**masked, "override_settings": {"overlay_inpaint": False}}),
    ]:
        frames = host.generate({"format": ["GIF", "Frame"], **animation}, **request_).images
        assert len({frame.size for frame in frames}) == 1
