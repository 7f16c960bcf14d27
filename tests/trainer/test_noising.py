"""The forward process and its weights, against closed forms."""

import math
from dataclasses import replace

import pytest
import torch

from animatediff_ext.motion import FAMILIES, IMAGE_SCHEDULE
from animatediff_ext.trainer.config import Diffusion
from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.noising import (
    DENSITIES,
    Noising,
    schedule_of,
    without_appearance,
    without_terminal_signal,
)

LINEAR = FAMILIES["v3"].schedule


def noising(prediction="epsilon", schedule=LINEAR, **options):
    return Noising(schedule, Diffusion(**options), prediction)


def test_timesteps_that_the_schedule_has_not_are_refused():
    with pytest.raises(TrainError, match="timestep_max is 999, but the motion module has 500 timesteps: set it to at"):
        noising(schedule=replace(LINEAR, num_timesteps=500))


def timesteps_of(made, number=4000):
    return torch.tensor([made.timestep(0, index) for index in range(number)])


@pytest.mark.parametrize(
    ("schedule", "last"),
    [(LINEAR, 0.001579), (IMAGE_SCHEDULE, 0.004660), (FAMILIES["sdxl-beta"].schedule, 0.000230)],
)
def test_schedules_end_where_the_published_ones_do(schedule, last):
    assert noising(schedule=schedule).alphas_cumprod[-1].item() == pytest.approx(last, abs=1e-6)


def test_the_users_schedule_replaces_the_stages_own():
    assert schedule_of(Diffusion(), LINEAR) == LINEAR
    chosen = schedule_of(Diffusion(schedule="scaled_linear", beta_end=0.02), LINEAR)
    assert (chosen.kind, chosen.beta_start, chosen.beta_end) == ("scaled_linear", 0.00085, 0.02)


def test_zero_terminal_snr_keeps_the_start_and_ends_at_zero():
    alphas = LINEAR.alphas_cumprod()
    rescaled = without_terminal_signal(alphas)
    assert rescaled[-1] == 0
    assert rescaled[0].item() == pytest.approx(alphas[0].item(), abs=1e-6)
    assert (rescaled.diff() < 0).all()


def test_zero_terminal_snr_wants_a_model_that_predicts_v():
    with pytest.raises(TrainError, match="v-prediction checkpoint"):
        noising(zero_terminal_snr=True)
    assert noising("v", zero_terminal_snr=True).alphas_cumprod[-1] == 0


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_the_target_and_the_noisy_clip_give_the_clip_back(prediction):
    made = noising(prediction)
    x0, noise = torch.randn(2, 2, 3, 4, 5, 5)
    at = torch.tensor([100, 900])
    x, target = made.noised(x0, noise, at), made.target(x0, noise, at)
    alpha = made.alphas_cumprod[at].view(2, 1, 1, 1, 1)
    if prediction == "epsilon":
        back = (x - (1 - alpha).sqrt() * target) / alpha.sqrt()
    else:
        back = alpha.sqrt() * x - (1 - alpha).sqrt() * target
    torch.testing.assert_close(back, x0, rtol=1e-4, atol=1e-4)


def test_weights_follow_the_closed_forms():
    at = torch.tensor([10, 300, 700, 999])
    alpha = LINEAR.alphas_cumprod()[at].double()
    snr = alpha / (1 - alpha)

    def expected(weights):
        return weights.clamp(max=100).float()

    close = torch.testing.assert_close
    close(noising(min_snr=5.0).weights(at), expected(snr.clamp(max=5) / snr))
    close(noising("v", min_snr=5.0).weights(at), expected(snr.clamp(max=5) / (snr + 1)))
    close(noising(weighting="v").weights(at), expected((snr + 1) / snr))
    close(noising(weighting="x0").weights(at), expected(1 / snr))
    close(noising("v", weighting="x0").weights(at), expected(1 / (snr + 1)))
    close(noising().weights(at), torch.ones(4))


@pytest.mark.parametrize("weighting", ["v", "x0"])
def test_a_weighting_does_not_depend_on_what_the_model_predicts(weighting):
    """The same error in x0, written as one of ε or of v, costs the same."""
    at = torch.tensor([200, 500])
    alpha = LINEAR.alphas_cumprod()[at]
    epsilon_error, v_error = (alpha / (1 - alpha)), 1 / (1 - alpha)  # squared, for one of 1 in x0
    by_epsilon = noising("epsilon", weighting=weighting).weights(at) * epsilon_error
    by_v = noising("v", weighting=weighting).weights(at) * v_error
    torch.testing.assert_close(by_epsilon, by_v)


def test_timesteps_keep_to_their_range():
    drawn = timesteps_of(noising(timestep_min=500, timestep_max=509))
    assert set(drawn.tolist()) == set(range(500, 510))


@pytest.mark.parametrize(
    ("density", "mean"), [("uniform", 499.5), ("high-noise", 666), ("low-noise", 333), ("logit-normal", 499.5)]
)
def test_densities_have_their_mean(density, mean):
    assert density in DENSITIES
    assert timesteps_of(noising(timestep_density=density)).float().mean().item() == pytest.approx(mean, abs=20)


def test_noise_depends_on_its_key_alone():
    made, shape = noising(), torch.Size([2, 4, 8, 8])
    assert torch.equal(made.noise(shape, 0, 5), made.noise(shape, 0, 5))
    assert not torch.equal(made.noise(shape, 0, 5), made.noise(shape, 0, 6))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_frames_share_as_much_noise_as_asked_for(share):
    noise = noising(frame_noise=share).noise(torch.Size([2, 4, 128, 128]), 0)
    first, second = noise.flatten(1)
    assert noise.var().item() == pytest.approx(1, abs=0.03)
    assert (first * second).mean().item() == pytest.approx(share, abs=0.03)


def test_the_noise_offset_is_one_number_for_all_places_of_a_channel():
    plain, offset = (noising(noise_offset=x).noise(torch.Size([3, 4, 8, 8]), 0) for x in (0.0, 0.1))
    difference = offset - plain
    assert difference.std() > 0
    torch.testing.assert_close(difference, difference[:1, :, :1, :1].expand_as(difference), rtol=0, atol=1e-6)


def test_the_debiased_loss_does_not_see_what_all_frames_have_in_common():
    x = torch.randn(2, 5, 4, 8, 8)
    anchors = torch.tensor([0, 3])
    common = torch.randn(2, 1, 4, 8, 8)
    # The anchor is taken away once, the frame counts √2 times: of a common part √2 − 1 is left.
    difference = without_appearance(x + common, anchors) - without_appearance(x, anchors)
    torch.testing.assert_close(difference, ((math.sqrt(2) - 1) * common).expand_as(x), rtol=1e-4, atol=1e-5)
    others = without_appearance(x, anchors)[0, 1:]
    torch.testing.assert_close(others, math.sqrt(2) * x[0, 1:] - x[0, 0])
