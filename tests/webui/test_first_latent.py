"""img2img: every frame starts between the picture and noise, or a last picture."""

import pytest
import torch
from PIL import Image

from tests.webui.generations import encoded, script
from tests.webui.host import NUM_FRAMES, as_base64, picture

pytestmark = pytest.mark.usefixtures("unchanged")
NOISY = {"latent_scale": 3.0, "latent_power": 1.0}  # so few frames must not all stay the picture


def starts(host, animation=None, **request):
    """What each video starts with: latents and noise, as scripts see them before the sampling."""
    seen = []
    watch = script(host, process_before_every_sampling=lambda p, *a, x, noise, **k: seen.append((x.clone(), noise)))
    request = {"init_images": [picture()], **request}
    host.generate({**NOISY, **(animation or {})}, scripts=[watch], **request)
    return seen


def shares(power, scale):
    return [max(0.0, 1 - i**power / scale) for i in range(NUM_FRAMES)]


@pytest.mark.parametrize(("power", "scale"), [(1.0, 3.0), (2.0, 5.0), (1.0, 32.0)])
def test_the_first_frame_is_the_picture_and_later_ones_keep_less_of_it(host, power, scale):
    ((latents, _),) = starts(host, {"latent_power": power, "latent_scale": scale})
    latent = encoded(host, picture())
    torch.testing.assert_close(latents[0], latent)
    noises = []
    for frame, share in zip(latents[1:], shares(power, scale)[1:], strict=True):
        noises.append((frame - share * latent) / (1 - share))
    assert all(0.5 < noise.std() < 1.5 for noise in noises)
    assert (noises[0] - noises[1]).abs().max() > 0.1, "each frame has noise of its own"


def test_every_video_is_mixed_from_the_picture_itself(host):
    """The second of a request starts as the first one of its seed does, not from what the first one had mixed."""
    (first, _), (second, _) = starts(host, n_iter=2)
    ((alone, _),) = starts(host, seed=7 + NUM_FRAMES)
    torch.testing.assert_close(second, alone)
    assert (first[1] - second[1]).abs().max() > 0.1


def test_the_noise_that_sampling_starts_with_is_that_of_plain_img2img(host):
    ((latents, noise),) = starts(host)
    for i in range(NUM_FRAMES):
        torch.testing.assert_close(noise[i], torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(7 + i)))
    latent = encoded(host, picture())
    mixed_in = (latents[3] - 0 * latent) / 1
    assert (mixed_in - noise[3]).abs().max() > 0.1, "and it is not the noise that was mixed in"


def test_the_same_request_starts_the_same(host):
    (first, _), (second, _) = *starts(host), *starts(host)
    assert first.equal(second)


def test_an_empty_text_is_no_last_frame(host):
    (empty, _), (plain, _) = *starts(host, {"last_frame": ""}), *starts(host)
    assert empty.equal(plain)


@pytest.mark.parametrize("pictures", [[None], []])
def test_without_a_picture_img2img_says_what_to_do(host, pictures):
    """The page sends None where nobody chose one; users of a video source leave it empty."""
    with pytest.raises(host.error, match="img2img has no picture: give it one"):
        host.generate({}, init_images=pictures, api=False)


def test_what_the_mask_protects_stays_the_picture_in_every_frame(host):
    mask = Image.new("L", (32, 32), 0)
    mask.paste(255, (0, 0, 16, 32))
    ((latents, _),) = starts(host, image_mask=mask)
    latent = encoded(host, picture())
    for i in range(NUM_FRAMES):
        torch.testing.assert_close(latents[i, :, :, 2:], latent[:, :, 2:])
    assert (latents[3, :, :, :2] - latent[:, :, :2]).abs().max() > 0.1


@pytest.mark.parametrize("resize_mode", [0, 3])
@pytest.mark.parametrize("given", ["picture", "base64", "with transparency"])
def test_the_last_frame_is_the_last_picture(host, given, resize_mode):
    last = picture("blue", "white", size=64)
    value = {"picture": last, "base64": as_base64(last), "with transparency": as_base64(last.convert("RGBA"))}[given]
    ((latents, _),) = starts(
        host, {"last_frame": value}, resize_mode=resize_mode, init_images=[picture(size=64)], api=given != "picture"
    )
    assert latents.shape[-2:] == (4, 4)
    torch.testing.assert_close(latents[-1], encoded(host, picture("blue", "white")), rtol=0, atol=0.05)
    torch.testing.assert_close(latents[0], encoded(host, picture()), rtol=0, atol=0.05)
    assert (latents[1] - latents[2]).abs().max() > 0.1


def test_txt2img_has_no_first_latent(host):
    """Settings of img2img are taken and mean nothing there."""
    frames = host.generate({"latent_scale": 2}).images
    assert [frame.tobytes() for frame in frames] == [frame.tobytes() for frame in host.generate({}).images]
