"""Prompts that travel as sd-webui-animatediff has them."""

import math

import pytest
import torch

from animatediff_ext.params import from_api
from animatediff_ext.travel import TravelError, blended, blends_of, travel_of
from animatediff_ext.travel.old import slerp_as_a_whole


def animation(num_frames=8, **arguments):
    return from_api({"video_length": num_frames, "old_numerics": True, **arguments})[0].resolved()


def of_frames(prompt, **arguments):
    return [frame.weights for frame in travel_of(prompt, animation(**arguments)).frames]


def test_key_prompts_are_joined_as_they_were_commas_and_all():
    assert of_frames("1girl, line, \nbest\n0: closed mouth\n4: open mouth\nsmile")[0] == {
        "1girl, line, , best, closed mouth, smile": 1
    }
    assert of_frames("0: a\n4: b")[4] == {", b, ": 1}


@pytest.mark.parametrize(
    ("prompt", "keys"),
    [
        ("0: a\n4: b", [0, 4]),
        ("0: a\nwords\n4: b", [0]),
        ("0: a\n4:b", [0]),
        ("0: a\n50% smooth: b", [0]),
        (" 0: a\n4: b", [0, 4]),
        ("words\n 0: a\n4: b", [4]),
        ("0:a\n4: b", []),
        ("a cat", []),
    ],
)
def test_only_lines_of_the_old_form_in_one_block_are_keys(prompt, keys):
    assert [key.at for key in travel_of(prompt, animation()).keys] == keys


@pytest.mark.parametrize("prompt", ["0: a\n8: b", "4: a\n0: b"])
def test_keys_that_the_old_extension_refused_get_a_sentence(prompt):
    with pytest.raises(TravelError, match=r"^Line 2 is a key at frame .* Old numerics"):
        travel_of(prompt, animation())


def test_of_two_keys_for_one_frame_the_later_one_counts_and_that_is_said():
    travel = travel_of("0: a\n4: b\n4: c", animation())
    assert [key.text for key in travel.keys] == ["a", "c"]
    assert travel.notes == ("Line 3 is a second key for frame 4: the later one counts.",)


def test_only_a_clip_of_several_contexts_is_closed():
    assert of_frames("0: a\n4: b", closed_loop="R+P")[6] == {", b, ": 1}
    assert of_frames("0: a\n4: b", closed_loop="R+P", batch_size=4)[6] == {", a, ": 0.5, ", b, ": 0.5}


def slow(one, other, share):
    a, b = one.flatten().tolist(), other.flatten().tolist()
    cosine = sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)
    if abs(cosine) > 0.9995:
        return torch.tensor([(1 - share) * x + share * y for x, y in zip(a, b, strict=True)]).view_as(one)
    angle = math.acos(cosine)
    ways = math.sin((1 - share) * angle) / math.sin(angle), math.sin(share * angle) / math.sin(angle)
    return torch.tensor([ways[0] * x + ways[1] * y for x, y in zip(a, b, strict=True)]).view_as(one)


@pytest.mark.parametrize("shape", [(7, 12), (12,)])
@pytest.mark.parametrize("likeness", [0.0, 0.9, 0.999])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_the_whole_conditioning_goes_along_one_arc(shape, likeness, share):
    random = torch.Generator().manual_seed(0)
    one, noise = (torch.randn(shape, generator=random) for _ in range(2))
    other = likeness * one + (1 - likeness) * noise
    torch.testing.assert_close(slerp_as_a_whole(one, other, share), slow(one, other, share))


def test_tokens_and_pooled_vectors_are_blended_alike_and_only_with_the_switch():
    assert blends_of(animation()) == (slerp_as_a_whole, slerp_as_a_whole)
    assert slerp_as_a_whole not in blends_of(animation(old_numerics=False))


def test_frames_between_keys_lie_on_that_arc():
    random = torch.Generator().manual_seed(0)
    known = {name: torch.randn(5, 8, generator=random) for name in (", a, ", ", b, ")}
    frame = travel_of("0: a\n4: b", animation()).frames[1]
    torch.testing.assert_close(
        blended(frame, known.__getitem__, blends_of(animation())[0]), slow(*known.values(), 0.25)
    )
