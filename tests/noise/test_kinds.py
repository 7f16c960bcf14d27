import itertools

import pytest
import torch

from animatediff_ext.noise import KINDS, mixed

HOW = {"length": 16, "overlap": 12, "seed": 7}


def test_independent_noise_is_each_frames_own():
    assert KINDS["independent"](20, **HOW) == list(range(20))


def test_shared_noise_is_that_of_the_first_frame():
    assert KINDS["shared"](5, **HOW) == [0] * 5


def test_repeated_noise_is_that_of_the_first_window():
    assert KINDS["repeated"](35, **HOW) == [*range(16), *range(16), *range(3)]


@pytest.mark.parametrize(("length", "overlap"), [(16, 12), (16, 4), (8, 5), (4, 0), (4, 3)])
def test_every_window_of_free_noise_sees_the_first_windows_noise_once_each(length, overlap):
    hop = length - overlap
    num_frames = length + 7 * hop
    sources = KINDS["FreeNoise"](num_frames, length=length, overlap=overlap, seed=3)
    assert sources[:length] == list(range(length))
    for start in range(0, num_frames - length + 1, hop):
        assert sorted(sources[start : start + length]) == list(range(length))
    for start in range(length, num_frames, hop):  # and as in the authors' code, a run is a shuffled earlier one
        assert sorted(sources[start : start + hop]) == sorted(sources[start - length : start - length + hop])


def test_free_noise_of_a_short_clip_and_of_a_last_run_that_is_cut():
    assert KINDS["FreeNoise"](5, **HOW) == list(range(5))
    for num_frames in range(16, 41):
        sources = KINDS["FreeNoise"](num_frames, **HOW)
        assert len(sources) == num_frames
        assert set(sources) <= set(range(16))
        assert sources == KINDS["FreeNoise"](60, **HOW)[:num_frames]


def test_free_noise_depends_on_the_seed_only():
    one, same, other = (KINDS["FreeNoise"](64, length=16, overlap=12, seed=seed) for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_mixed_noise_has_unit_variance_and_the_correlation_that_was_asked_for(share):
    random = torch.Generator().manual_seed(0)
    own, common = (torch.randn(n, 4, 64, 64, generator=random) for n in (4, 1))
    noise = mixed(own, common, share).flatten(1)
    assert torch.allclose(noise.var(dim=1), torch.ones(4), atol=0.05)
    for i, j in itertools.combinations(range(4), 2):
        assert abs((noise[i] * noise[j]).mean() - share) < 0.05
