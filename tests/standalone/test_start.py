"""Clips that start from pictures, and from refined noise: against slow formulas."""

import numpy as np
import pytest
import torch
from PIL import Image

from animatediff_ext.media import WRITERS, MediaError
from animatediff_ext.motion import IMAGE_SCHEDULE
from animatediff_ext.noise import between_pictures, keep_shares, low_pass, noised, refined_noise, seed_offsets
from animatediff_ext.params import Animation, FreeInit, ImageToVideo
from animatediff_ext.standalone import SAMPLERS, Start, animate
from animatediff_ext.standalone.first_latent import encoded_pictures, first_latents
from animatediff_ext.standalone.pictures import read_pictures
from animatediff_ext.standalone.sampling import seeded_frames, steps_taken

SHAPE = (3, 4, 4, 4)
SIZE = {"width": 32, "height": 32, "num_steps": 4, "prompt": "cat", "cfg": 1.0}


def latents(seed=0):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def clip(spatial, start=None, **how):
    how = {"animation": Animation(num_frames=3), "seed": 5} | SIZE | how
    return animate(spatial, None, start=start, **how)


@pytest.fixture
def spatial(loaded):
    return loaded["SD 1.5"]


@pytest.fixture
def gentle(spatial, monkeypatch):
    """Random weights make much of rounding."""
    steep = spatial.predict
    monkeypatch.setattr(spatial, "predict", lambda *call: 0.1 * steep(*call))
    return spatial


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_at_strength_0_the_pictures_stay_as_they_are(sampler, spatial):
    start = Start(latents=latents(), strength=0.0)
    torch.testing.assert_close(clip(spatial, start, sampler=sampler), latents(), rtol=0, atol=0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_at_strength_1_nothing_is_left_of_the_pictures(sampler, spatial):
    start = Start(latents=latents(), strength=1.0)
    torch.testing.assert_close(clip(spatial, start, sampler=sampler), clip(spatial, sampler=sampler), rtol=0, atol=0)


def test_in_between_ddim_is_the_papers_formula_from_the_noised_pictures_on(gentle):
    """Song et al., arXiv 2010.02502, equation 12 with sigma 0: the last two of eight steps."""
    actual = clip(gentle, Start(latents=latents(), strength=0.25), num_steps=8)
    alphas = IMAGE_SCHEDULE.alphas_cumprod().double()
    noise = seeded_frames(5, 3, SHAPE[1:])[0].double()
    conditioning = gentle.encode_text(["cat"]).repeat_frames(3)
    x = alphas[126].sqrt() * latents().double() + (1 - alphas[126]).sqrt() * noise
    for timestep, before in ((126, alphas[1]), (1, torch.tensor(1.0).double())):
        a = alphas[timestep]
        with torch.no_grad():
            error = gentle.predict(x.float(), torch.full((3,), timestep), conditioning).double()
        x = before.sqrt() * (x - (1 - a).sqrt() * error) / a.sqrt() + (1 - before).sqrt() * error
    torch.testing.assert_close(actual, x.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_model_that_knows_the_picture_arrives_at_it_from_anywhere(sampler, spatial, monkeypatch):
    alphas = IMAGE_SCHEDULE.alphas_cumprod()

    def perfect(x, timesteps, _conditioning):
        between = np.interp(timesteps.double(), range(1000), alphas.double())
        a = torch.from_numpy(between).float().view(-1, 1, 1, 1)
        return (x - a.sqrt() * latents()) / (1 - a).sqrt()

    monkeypatch.setattr(spatial, "predict", perfect)
    result = clip(spatial, Start(latents=latents(), strength=0.6), sampler=sampler, num_steps=10)
    torch.testing.assert_close(result, latents(), rtol=0.03, atol=0.03)


def test_strength_is_a_share_of_the_steps_and_at_least_one():
    taken = [steps_taken(25, Start(latents=latents(), strength=s)) for s in (0, 0.01, 0.28, 0.5, 0.75, 0.99, 1)]
    assert taken == [0, 1, 7, 12, 19, 25, 25]
    assert steps_taken(25, None) == 25


def test_steps_are_counted_to_their_end_whatever_the_start(spatial):
    seen = []
    free_init = Animation(num_frames=3, free_init=FreeInit(enabled=True, num_iterations=3))
    clip(
        spatial,
        Start(latents=latents(), strength=0.5),
        animation=free_init,
        on_step=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(i, 6) for i in range(1, 7)]


@pytest.mark.parametrize("start", [None, Start(latents=latents(), strength=0.5)], ids=["noise", "pictures"])
@pytest.mark.parametrize("filter_name", ["butterworth", "box"])
def test_free_init_samples_noises_mixes_and_samples_again(filter_name, start, gentle, monkeypatch):
    """As the WebUI host does, in the same order, composed by hand from clips without FreeInit."""
    settings = FreeInit(enabled=True, num_iterations=3, filter=filter_name, spatial_stop=0.5, temporal_stop=0.75)
    actual = clip(gentle, start, animation=Animation(num_frames=3, free_init=settings))

    def drawn(seed):
        return seeded_frames(seed, 3, SHAPE[1:])[0]

    mask = low_pass(filter_name, *SHAPE[:1], *SHAPE[2:], spatial_stop=0.5, temporal_stop=0.75)
    noise = drawn(5)
    for iteration in (1, 2):
        monkeypatch.setattr(
            "animatediff_ext.standalone.sampling.seeded_frames",
            lambda seed, n, size, noise=noise: (noise, seeded_frames(seed, n, size)[1]),
        )
        z_T = noised(clip(gentle, start), drawn(5), IMAGE_SCHEDULE.alphas_cumprod()[-1])
        noise = refined_noise(z_T, drawn(5 + iteration * seed_offsets.FRESH), mask)
    monkeypatch.setattr(
        "animatediff_ext.standalone.sampling.seeded_frames",
        lambda seed, n, size: (noise, seeded_frames(seed, n, size)[1]),
    )
    torch.testing.assert_close(actual, clip(gentle, start), rtol=1e-4, atol=1e-4)


def test_free_init_of_one_round_is_none(spatial):
    once = Animation(num_frames=3, free_init=FreeInit(enabled=True, num_iterations=1))
    torch.testing.assert_close(clip(spatial, animation=once), clip(spatial), rtol=0, atol=0)


# ---- pictures ----


def pixels(num_frames, seed=0, height=32, width=32):
    return np.random.default_rng(seed).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def test_a_picture_is_mixed_with_noise_more_of_it_the_further_a_frame_is(spatial):
    settings = ImageToVideo(latent_power=2, latent_scale=8, latent_power_last=0.5, latent_scale_last=4)
    first, last = pixels(1), pixels(1, seed=1)
    a, b = (encoded_pictures(spatial, picture) for picture in (first, last))
    noise = seeded_frames(5 + seed_offsets.PICTURE, 4, (4, 4, 4))[0]
    shares, last_shares = keep_shares(4, power=2, scale=8), keep_shares(4, power=0.5, scale=4).flip(0)
    how = {"settings": settings, "num_frames": 4, "seed": 5}
    torch.testing.assert_close(first_latents(spatial, first, None, **how), between_pictures(a, noise, shares))
    both = first_latents(spatial, first, last, **how)
    torch.testing.assert_close(both, between_pictures(a, noise, shares, b, last_shares))
    torch.testing.assert_close(both[[0, -1]], torch.cat([a, b]))


def test_a_video_is_taken_frame_by_frame_and_without_noise(spatial):
    frames = pixels(3)
    found = first_latents(spatial, frames, None, settings=ImageToVideo(), num_frames=3, seed=0)
    torch.testing.assert_close(found, torch.cat([encoded_pictures(spatial, frame[None]) for frame in frames]))


def test_latents_are_the_means_of_the_vae_times_its_scale(spatial):
    picture = pixels(1)
    x = torch.from_numpy(picture).permute(0, 3, 1, 2).double().float() / 127.5 - 1
    with torch.no_grad():
        expected = spatial.vae.encode(x).latent_dist.mean * spatial.vae.config.scaling_factor
    torch.testing.assert_close(encoded_pictures(spatial, picture), expected)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "MP4", "PNG"])
def test_frames_of_any_clip_come_in_their_order_and_size(kind, tmp_path):
    grey = [np.full((32, 32, 3), 40 * i, np.uint8) for i in range(5)]
    path = WRITERS[kind](grey, tmp_path / f"clip.{kind.lower()}", fps=8)
    found = read_pictures(path, width=16, height=16, most=4)
    assert found.shape == (4, 16, 16, 3)
    np.testing.assert_allclose(found.mean((1, 2, 3)), [0, 40, 80, 120], atol=4)
    assert len(read_pictures(path, width=16, height=16)) == 5


def test_a_picture_is_resized_to_cover_and_its_middle_is_cut_out(tmp_path):
    picture = np.zeros((40, 120, 3), np.uint8)
    picture[:, 40:80] = 255
    Image.fromarray(picture).save(tmp_path / "wide.jpg", quality=95)
    found = read_pictures(tmp_path / "wide.jpg", width=16, height=16)
    assert found.shape == (1, 16, 16, 3)
    assert found.min() > 200


def test_what_is_no_picture_says_so(tmp_path):
    (tmp_path / "words.png").write_text("hello")
    (tmp_path / "empty").mkdir()
    for name in ("words.png", "missing.png", "empty"):
        with pytest.raises(MediaError, match=name):
            read_pictures(tmp_path / name, width=16, height=16)
