from types import SimpleNamespace

import pytest
import torch

from animatediff_ext.inject import MisfitError, ScheduleOverride
from animatediff_ext.motion import FAMILIES, NoiseSchedule

LINEAR = FAMILIES["v2"].schedule


def host():
    alphas = NoiseSchedule(kind="scaled_linear", beta_start=0.00085, beta_end=0.012).alphas_cumprod()
    return SimpleNamespace(alphas_cumprod=alphas, alphas_cumprod_original=alphas)


@pytest.mark.parametrize(
    ("schedule", "at_0", "at_499", "at_999"),
    [
        (FAMILIES["v2"].schedule, 0.999150, 0.161812, 0.001579),
        (FAMILIES["hotshot-xl"].schedule, 0.999150, 0.277670, 0.004660),
        (FAMILIES["sdxl-beta"].schedule, 0.999150, 0.170146, 0.000230),
        (NoiseSchedule(kind="linear", beta_start=0.00085, beta_end=0.014), 0.999150, 0.125896, 0.000576),
    ],
)
def test_schedules_have_the_known_values(schedule, at_0, at_499, at_999):
    alphas = schedule.alphas_cumprod()
    assert [round(alphas[i].item(), 6) for i in (0, 499, 999)] == [at_0, at_499, at_999]


def test_a_schedule_is_applied_and_restored():
    model = host()
    before = model.alphas_cumprod
    override = ScheduleOverride(model, LINEAR)
    assert override.apply()
    torch.testing.assert_close(model.alphas_cumprod, LINEAR.alphas_cumprod())
    assert not override.apply()
    override.restore()
    assert model.alphas_cumprod is before
    assert model.alphas_cumprod_original is before


def test_what_a_checkpoint_brought_meanwhile_is_what_comes_back():
    """Hires fix and refiner load another checkpoint into the same model; loading writes into the tensor that is
    there."""
    model = host()
    override = ScheduleOverride(model, LINEAR)
    override.apply()
    of_checkpoint = NoiseSchedule(kind="scaled_linear", beta_start=0.001, beta_end=0.01).alphas_cumprod()
    model.alphas_cumprod.copy_(of_checkpoint)
    model.alphas_cumprod_original = model.alphas_cumprod
    assert override.apply()
    torch.testing.assert_close(model.alphas_cumprod, LINEAR.alphas_cumprod())
    override.restore()
    torch.testing.assert_close(model.alphas_cumprod, of_checkpoint)


def test_a_schedule_of_another_length_is_refused():
    model = host()
    before = model.alphas_cumprod
    override = ScheduleOverride(model, NoiseSchedule(kind="linear", beta_start=0.001, beta_end=0.01, num_timesteps=500))
    with pytest.raises(MisfitError, match=r"500 timesteps of noise, but the loaded checkpoint has 1000: choose"):
        override.apply()
    assert model.alphas_cumprod is before


def test_an_unused_override_restores_nothing():
    model = host()
    before = model.alphas_cumprod
    ScheduleOverride(model, LINEAR).restore()
    assert model.alphas_cumprod is before


def test_a_model_that_moved_between_devices_gets_its_own_schedule_back():
    """Before it loads another checkpoint the WebUI moves a model, which makes new tensors; one without a schedule then
    takes over what is there."""
    model = host()
    before = model.alphas_cumprod
    override = ScheduleOverride(model, LINEAR)

    def derive():  # the setting that downcasts the schedule
        model.alphas_cumprod = model.alphas_cumprod_original.half()

    override.apply(derive)
    model.alphas_cumprod = model.alphas_cumprod.clone()
    model.alphas_cumprod_original = model.alphas_cumprod
    assert override.apply(derive)
    override.restore()
    assert model.alphas_cumprod is before
    assert model.alphas_cumprod_original is before


def test_tables_that_a_model_has_of_it_follow():
    """ControlNet's inpainting reads pictures out of x_t by them."""
    model = host()
    before = model.sqrt_recip_alphas_cumprod = (1 / model.alphas_cumprod).sqrt()
    override = ScheduleOverride(model, LINEAR)
    override.apply()
    torch.testing.assert_close(model.sqrt_recip_alphas_cumprod, LINEAR.alphas_cumprod().rsqrt())
    assert not hasattr(model, "sqrt_alphas_cumprod")
    override.restore()
    assert model.sqrt_recip_alphas_cumprod is before
