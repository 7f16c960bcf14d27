import torch

from animatediff_ext.noise import between_pictures, keep_shares


def pictures(num_frames, seed=0):
    generator = torch.Generator().manual_seed(seed)
    first, last, noise = (torch.randn(n, 4, 8, 8, generator=generator) for n in (1, 1, num_frames))
    return first, last, noise


def test_shares_follow_the_formula():
    shares = keep_shares(40, power=1, scale=32)
    for i in range(40):
        assert shares[i].item() == max(0, 1 - i / 32)
    assert keep_shares(3, power=2, scale=8).tolist() == [1, 1 - 1 / 8, 1 - 4 / 8]


def test_the_first_frame_is_the_picture():
    first, _, noise = pictures(6)
    mixed = between_pictures(first, noise, keep_shares(6, power=1, scale=32))
    torch.testing.assert_close(mixed[0], first[0], rtol=0, atol=0)
    torch.testing.assert_close(mixed[5], first[0] * (1 - 5 / 32) + noise[5] * 5 / 32)


def test_the_last_frame_is_the_last_picture_and_shares_never_exceed_one():
    first, last, noise = pictures(16)
    shares = keep_shares(16, power=1, scale=32)
    mixed = between_pictures(first, noise, shares, last, shares.flip(0))
    torch.testing.assert_close(mixed[0], first[0], rtol=0, atol=0)
    torch.testing.assert_close(mixed[15], last[0], rtol=0, atol=0)
    without_noise = between_pictures(first, noise * 0, shares, last, shares.flip(0))
    loud = between_pictures(first, noise * 1e3, shares, last, shares.flip(0))
    torch.testing.assert_close(loud[7], without_noise[7], rtol=1e-3, atol=1e-3)  # all of the noise is displaced


def test_one_frame_with_a_last_picture_stays_finite():
    first, last, noise = pictures(1)
    share = keep_shares(1, power=1, scale=32)
    assert between_pictures(first, noise, share, last, share).isfinite().all()
