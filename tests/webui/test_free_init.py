"""FreeInit: each video is sampled several times, from noise that is better each time."""

import pytest
import torch

from tests.webui.generations import HIRES, at_step, same, script
from tests.webui.host import NUM_FRAMES, picture

pytestmark = pytest.mark.usefixtures("unchanged")
ON = {"freeinit_enable": True, "freeinit_iters": 3}


def noises(host, animation, **request):
    """What each sampling starts with, and the frames."""
    seen = []
    watch = script(host, process_before_every_sampling=lambda p, *a, noise, **k: seen.append(noise.clone()))
    return seen, host.generate(animation, scripts=[watch], **request).images


@pytest.mark.parametrize("request_", [{}, {"init_images": [picture()]}], ids=["txt2img", "img2img"])
def test_the_first_round_starts_with_the_plain_noise_and_each_one_with_better(host, request_):
    (plain,), frames = noises(host, {}, **request_)
    rounds, better = noises(host, ON, **request_)
    assert len(rounds) == 3
    torch.testing.assert_close(rounds[0], plain)
    assert (rounds[1] - plain).abs().max() > 0.1
    assert (rounds[2] - rounds[1]).abs().max() > 0.1
    assert len(better) == NUM_FRAMES
    assert not same(frames, better)


def test_one_round_is_a_plain_animation(host):
    assert same(host.generate({**ON, "freeinit_iters": 1}).images, host.generate({}).images)


def test_every_video_has_its_rounds(host):
    rounds, frames = noises(host, ON, n_iter=2)
    assert len(rounds) == 6
    assert len(frames) == 2 * NUM_FRAMES


def test_only_the_last_round_has_a_hires_pass(host):
    rounds, frames = noises(host, ON, **HIRES)
    assert [noise.shape[-1] for noise in rounds] == [4, 4, 4, 8]
    assert {frame.size for frame in frames} == {(64, 64)}


@pytest.mark.parametrize("button", ["interrupted", "skipped"])
def test_an_interrupt_ends_the_rounds(host, button):
    at_step(host, 3, lambda _params: setattr(host.shared.state, button, True))
    rounds, frames = noises(host, ON)
    assert len(rounds) == 2
    assert len(frames) == NUM_FRAMES


def test_an_error_in_a_later_round_is_an_error(host):
    def fail(params):
        params.x = params.x[1:]

    at_step(host, 3, fail)
    with pytest.raises(host.error, match="whole clips"):
        host.generate(ON)


@pytest.mark.parametrize("in_new_objects", [False, True])
def test_every_round_begins_with_the_checkpoint_and_ends_with_the_refiner(host, in_new_objects):
    seen = []
    host.callbacks.on_cfg_denoiser(lambda _params: seen.append(host.shared.sd_model.sd_checkpoint_info.name))
    if in_new_objects:
        with host.sd_models.weights_in_new_objects():
            host.generate(ON, refiner_checkpoint="second")
            host.sd_models.reload_model_weights()
    else:
        host.generate(ON, refiner_checkpoint="second")
    host.callbacks.callback_map["cfg_denoiser"].pop()
    assert seen == ["base", "second"] * 3


@pytest.mark.parametrize("request_", [{}, {"init_images": [picture()]}], ids=["txt2img", "img2img"])
def test_every_round_runs_the_model_that_is_in_use(host, request_, monkeypatch):
    """A refiner is another object; img2img keeps one sampler for all rounds."""
    called, apply_model = [], host.sd_models.LatentDiffusion.apply_model

    def watched(self, *args):
        called.append((self.sd_checkpoint_info.name, host.shared.sd_model.sd_checkpoint_info.name))
        return apply_model(self, *args)

    monkeypatch.setattr(host.sd_models.LatentDiffusion, "apply_model", watched)
    with host.sd_models.weights_in_new_objects():
        host.generate(ON, refiner_checkpoint="second", **request_)
        host.sd_models.reload_model_weights()
    assert {used for used, _ in called} == {"base", "second"}
    assert all(used == wanted for used, wanted in called)


def test_progress_counts_the_rounds(host):
    seen = []
    at_step(host, 4, lambda _params: seen.append((host.shared.state.job_no, host.shared.state.job_count)))
    host.generate(ON)
    assert seen == [(2, 3)]


def test_each_round_has_the_checkpoint_of_the_generation(host):
    """The user may choose another one in the page meanwhile."""
    expected = host.generate(ON).images

    def choose(_params):
        host.opts.data["sd_model_checkpoint"] = "second"

    at_step(host, 0, choose)
    assert same(host.generate(ON).images, expected)
    host.opts.data["sd_model_checkpoint"] = "base"


def test_a_checkpoint_that_the_user_chooses_meanwhile_stays_chosen(host):
    at_step(host, 0, lambda _params: host.opts.data.update(sd_model_checkpoint="pruned"))
    host.generate(ON, refiner_checkpoint="second")
    assert host.opts.data["sd_model_checkpoint"] == "pruned"
    host.opts.data["sd_model_checkpoint"] = "base"


def test_each_round_is_noised_by_the_schedule_of_the_module_also_after_a_refiner(host, monkeypatch):
    """The checkpoint that comes back for the next round brings its own."""
    seen, free_init = [], host.webui("free_init")
    noised = free_init.noised
    monkeypatch.setattr(free_init, "noised", lambda *args: seen.append(args[2].item()) or noised(*args))
    host.generate(ON)
    host.generate(ON, refiner_checkpoint="second")
    assert len(set(seen)) == 1
    assert seen[0] != host.sd_models.make_schedule()[-1].item()


@pytest.mark.parametrize("fix_steps", [False, True])
@pytest.mark.parametrize("request_", [{}, {"init_images": [picture()]}], ids=["txt2img", "img2img"])
def test_a_coarse_round_has_as_many_steps_as_its_sampler_needs(host, request_, fix_steps):
    request_ = {**request_, "steps": 6, "sampler_name": "UniPC", "override_settings": {"img2img_fix_steps": fix_steps}}
    rounds, frames = noises(host, {**ON, "freeinit_coarse": True}, **request_)
    assert len(rounds) == 3
    assert len(frames) == NUM_FRAMES


class Hacked:
    """As ControlNet's, for inpaint_only+lama."""

    def __init__(self, generator):
        self.rng = generator

    def next(self):
        return self.rng.next()


@pytest.mark.parametrize("animation", [ON, {"noise_kind": "mixed"}])
def test_noise_that_another_extension_changes_is_refused_before_sampling(host, animation):
    def hack(p, *_args, **_how):
        p.rng = Hacked(p.rng)

    calls = at_step(host, 99, None)
    with pytest.raises(host.error, match="lama"):
        host.generate(animation, scripts=[script(host, before_process_batch=hack)])
    assert calls == []
    assert len(host.generate({}, scripts=[script(host, before_process_batch=hack)]).images) == NUM_FRAMES
