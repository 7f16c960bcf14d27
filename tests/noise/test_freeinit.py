import math

import pytest
import torch

from animatediff_ext.noise.freeinit import FILTERS, low_pass, noised, refined_noise
from animatediff_ext.params import SETTINGS

SIZES = [(16, 8, 8), (8, 6, 10), (5, 7, 9), (1, 8, 8), (2, 12, 4)]
STOPS = [(0.25, 0.25), (0.5, 0.25), (0.125, 1.0), (1.0, 1.0), (0.0, 0.25), (0.25, 0.0), (0.0, 0.0)]


def randoms(*shape, count=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*shape, generator=generator) for _ in range(count))


def slow_mask(name, num_frames, height, width, ds, dt):
    """One frequency after the other, by the formulas of the authors."""
    mask = torch.zeros(num_frames, height, width)
    if ds == 0 or dt == 0:
        return mask
    half_t, half_s = round(num_frames // 2 * dt), round(height // 2 * ds)
    for t in range(num_frames):
        for h in range(height):
            for w in range(width):
                d2 = (ds / dt * (2 * t / num_frames - 1)) ** 2 + (2 * h / height - 1) ** 2 + (2 * w / width - 1) ** 2
                mask[t, h, w] = {
                    "gaussian": math.exp(-d2 / (2 * ds**2)),
                    "butterworth": 1 / (1 + (d2 / ds**2) ** 4),
                    "ideal": float(d2 <= 2 * ds),
                    "box": float(
                        t in range(num_frames // 2 - half_t, num_frames // 2 + half_t)
                        and h in range(height // 2 - half_s, height // 2 + half_s)
                        and w in range(width // 2 - half_s, width // 2 + half_s)
                    ),
                }[name]
    return mask


def centred_transform(size):
    """The unitary DFT as a matrix, frequency zero in row size // 2."""
    k = torch.arange(size, dtype=torch.float64) - size // 2
    x = torch.arange(size, dtype=torch.float64)
    return torch.exp(-2j * torch.pi * k[:, None] * x / size) / size**0.5


def slow_mix(z, fresh, mask):
    """The paper's equation, with transforms written as matrices, in double precision."""
    f, _, h, w = z.shape
    matrices = [centred_transform(size) for size in (f, h, w)]

    def forward(x):
        return torch.einsum("af,bh,dw,fchw->acbd", *matrices, x.to(torch.complex128))

    def back(x):
        return torch.einsum("fa,hb,wd,fchw->acbd", *(m.conj() for m in matrices), x)

    share = mask.double()[:, None]
    return back(forward(z) * share + forward(fresh) * (1 - share))


def mean_with_mirrored(mask):
    """What a mask does to real signals: the mean of frequency k and -k."""
    mask = torch.fft.ifftshift(mask)
    mirrored = mask.flip(0, 1, 2).roll((1, 1, 1), (0, 1, 2))
    return (mask + mirrored) / 2


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("size", SIZES)
def test_each_filter_equals_its_slow_version(name, size):
    for ds, dt in STOPS:
        mask = low_pass(name, *size, spatial_stop=ds, temporal_stop=dt)
        assert mask.dtype == torch.float32
        torch.testing.assert_close(mask, slow_mask(name, *size, ds, dt))


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(("ds", "dt"), [(0, 0.25), (0.25, 0), (0, 0), (0.0, 1.0)])
def test_a_stop_of_zero_gives_the_fresh_noise(name, ds, dt):
    z, fresh = randoms(8, 4, 6, 6)
    mask = low_pass(name, 8, 6, 6, spatial_stop=ds, temporal_stop=dt)
    assert not mask.any()
    assert torch.equal(refined_noise(z, fresh, mask), fresh)


def test_a_box_too_small_for_one_frequency_gives_the_fresh_noise():
    z, fresh = randoms(4, 4, 8, 8)
    mask = low_pass("box", 4, 8, 8, spatial_stop=0.25, temporal_stop=0.125)
    assert torch.equal(refined_noise(z, fresh, mask), fresh)


def test_a_filter_that_passes_all_gives_the_clip():
    z, fresh = randoms(8, 4, 6, 6)
    torch.testing.assert_close(refined_noise(z, fresh, torch.ones(8, 6, 6)), z, rtol=0, atol=1e-5)
    whole = low_pass("box", 8, 6, 6, spatial_stop=1, temporal_stop=1)
    torch.testing.assert_close(refined_noise(z, fresh, whole), z, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("size", SIZES)
def test_the_mix_is_the_papers_equation(name, size):
    f, h, w = size
    z, fresh = randoms(f, 3, h, w)
    mask = low_pass(name, f, h, w, spatial_stop=0.5, temporal_stop=0.5)
    expected = slow_mix(z, fresh, mask)
    torch.testing.assert_close(refined_noise(z, fresh, mask), expected.real.float(), rtol=0, atol=1e-5)
    if name != "box" and not any(n % 2 for n in size):
        assert expected.imag.abs().max() < 1e-10  # nothing is lost by taking the real part


def test_low_frequencies_come_from_the_clip_and_high_ones_from_the_noise():
    f, h, w = 16, 8, 8
    still = torch.full((f, 4, h, w), 3.0)
    flicker = torch.ones(f, 4, h, w) * torch.tensor([1.0, -1.0]).repeat(f // 2).view(-1, 1, 1, 1)
    for name in FILTERS:
        mask = low_pass(name, f, h, w, spatial_stop=0.25, temporal_stop=0.25)
        torch.testing.assert_close(refined_noise(still, flicker, mask), still + flicker, rtol=0, atol=2e-3)
        torch.testing.assert_close(refined_noise(flicker, still, mask), still * 0, rtol=0, atol=2e-3)


def test_the_mix_is_linear_and_channels_do_not_meet():
    z, fresh, z2, fresh2 = randoms(6, 4, 8, 8, count=4)
    mask = low_pass("butterworth", 6, 8, 8, spatial_stop=0.25, temporal_stop=0.25)
    together = refined_noise(2 * z - 3 * z2, 2 * fresh - 3 * fresh2, mask)
    apart = 2 * refined_noise(z, fresh, mask) - 3 * refined_noise(z2, fresh2, mask)
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)
    alone = refined_noise(z[:, 1:2], fresh[:, 1:2], mask)
    torch.testing.assert_close(refined_noise(z, fresh, mask)[:, 1:2], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", FILTERS)
def test_white_noise_stays_of_unit_variance(name):
    z, fresh = randoms(16, 8, 32, 32)
    mask = low_pass(name, 16, 32, 32, spatial_stop=0.25, temporal_stop=0.25)
    m = mean_with_mirrored(mask)
    variance = refined_noise(z, fresh, mask).var().item()
    assert variance == pytest.approx((m**2 + (1 - m) ** 2).mean().item(), abs=0.02)
    assert 0.9 < variance < 1.05


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once_at_the_end(dtype):
    z, fresh = (x.to(dtype) for x in randoms(6, 4, 9, 10))
    mask = low_pass("gaussian", 6, 9, 10, spatial_stop=0.25, temporal_stop=0.25)
    assert torch.equal(refined_noise(z, fresh, mask), refined_noise(z.float(), fresh.float(), mask).to(dtype))
    assert torch.equal(noised(z, fresh, 0.0047), noised(z.float(), fresh.float(), 0.0047).to(dtype))


@pytest.mark.parametrize("name", FILTERS)
def test_one_frame_stays_finite(name):
    z, fresh = randoms(1, 4, 8, 8)
    mixed = refined_noise(z, fresh, low_pass(name, 1, 8, 8, spatial_stop=0.25, temporal_stop=0.25))
    assert mixed.shape == z.shape
    assert mixed.isfinite().all()


def test_noise_is_put_back_by_the_forward_process():
    latent, noise = randoms(6, 4, 8, 8)
    expected = math.sqrt(0.0047) * latent + math.sqrt(1 - 0.0047) * noise
    torch.testing.assert_close(noised(latent, noise, 0.0047), expected)
    torch.testing.assert_close(noised(latent, noise, torch.tensor(0.0047)), expected)
    assert torch.equal(noised(latent, noise, 0.0), noise)
    assert torch.equal(noised(latent, noise, 1.0), latent)


def test_inputs_are_left_as_they_were():
    z, fresh = randoms(4, 4, 8, 8)
    before = z.clone(), fresh.clone()
    noised(z, fresh, 0.5)
    refined_noise(z, fresh, low_pass("ideal", 4, 8, 8, spatial_stop=0.25, temporal_stop=0.25))
    assert torch.equal(z, before[0])
    assert torch.equal(fresh, before[1])


def test_an_unknown_filter_is_answered_with_the_names():
    with pytest.raises(ValueError, match=r"no FreeInit filter 'gauss'; choose one of .*gaussian") as error:
        low_pass("gauss", 4, 8, 8, spatial_stop=0.25, temporal_stop=0.25)
    assert all(name in str(error.value) for name in FILTERS)


def test_the_settings_offer_these_filters():
    choices = SETTINGS["freeinit_filter"].choices
    assert set(choices) == set(FILTERS)
