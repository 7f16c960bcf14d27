"""Conditionings between two keys, against an independent slow version."""

import math

import pytest
import torch

from animatediff_ext.travel import BLENDS, FramePrompt
from animatediff_ext.travel.blend import blended, lerp, slerp


@pytest.fixture
def pair():
    random = torch.Generator().manual_seed(0)
    return torch.randn(5, 8, generator=random), 3 * torch.randn(5, 8, generator=random)


def slow_slerp(a, b, share):
    rows = []
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        nx, ny = math.hypot(*x), math.hypot(*y)
        angle = math.acos(sum(p * q for p, q in zip(x, y, strict=True)) / nx / ny)
        length = nx + share * (ny - nx)
        w0, w1 = math.sin((1 - share) * angle) / math.sin(angle), math.sin(share * angle) / math.sin(angle)
        rows.append([length * (w0 * p / nx + w1 * q / ny) for p, q in zip(x, y, strict=True)])
    return torch.tensor(rows)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_slerp_goes_along_the_arc_of_every_token(pair, share):
    torch.testing.assert_close(slerp(*pair, share), slow_slerp(*pair, share))


@pytest.mark.parametrize("name", BLENDS)
def test_both_ends_are_reached(pair, name):
    torch.testing.assert_close(BLENDS[name](*pair, 0.0), pair[0])
    torch.testing.assert_close(BLENDS[name](*pair, 1.0), pair[1])


@pytest.mark.parametrize("name", BLENDS)
def test_tokens_that_are_alike_stay_what_they_are(pair, name):
    torch.testing.assert_close(BLENDS[name](pair[0], pair[0], 0.3), pair[0])


def test_opposite_and_empty_tokens_are_numbers(pair):
    assert slerp(pair[0], -pair[0], 0.5).isfinite().all()
    nothing = torch.zeros_like(pair[0])
    torch.testing.assert_close(slerp(pair[0], nothing, 0.25), 0.75 * pair[0])
    torch.testing.assert_close(slerp(nothing, pair[0], 0.25), 0.25 * pair[0])


def test_one_token_does_not_decide_for_the_others(pair):
    """In one slerp over the whole tensor, a single large token would make a line of the arc of all."""
    start, end = (x.clone() for x in pair)
    start[0], end[0] = 1000, 1000
    torch.testing.assert_close(slerp(start, end, 0.5)[1:], slerp(*pair, 0.5)[1:])


def test_a_pooled_vector_is_blended_too(pair):
    torch.testing.assert_close(slerp(pair[0][0], pair[1][0], 0.3), slerp(*pair, 0.3)[0])


def test_halves_stay_halves(pair):
    assert slerp(*(x.half() for x in pair), 0.5).dtype == torch.float16


def test_what_counts_nothing_is_not_asked_for(pair):
    """It is not among the prompts that are encoded."""
    frame = FramePrompt(start=(("a", 1.0),), end=(("b", 1.0),), share=1.0)
    assert blended(frame, {"b": pair[1]}.__getitem__, slerp) is pair[1]


def test_a_frame_is_blended_from_its_prompts(pair):
    known = {"a": pair[0], "b": pair[1], "c": pair[0] + pair[1]}
    frame = FramePrompt(start=(("a", 0.25), ("b", 0.75)), end=(("c", 1.0),), share=0.5)
    expected = 0.5 * (0.25 * known["a"] + 0.75 * known["b"]) + 0.5 * known["c"]
    torch.testing.assert_close(blended(frame, known.__getitem__, lerp), expected)


def test_a_frame_at_a_key_is_that_prompt_bit_by_bit(pair):
    known = {"a": pair[0]}
    assert blended(FramePrompt(start=(("a", 1.0),)), known.__getitem__, slerp) is pair[0]
