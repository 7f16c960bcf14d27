"""What the UNet is told of every frame."""

import pytest
import torch

from animatediff_ext.params import Animation, Context, Output
from animatediff_ext.standalone.frame_conditioning import encoded
from animatediff_ext.travel import BLENDS, TravelError


def clip(num_frames=4, blend="slerp", **context):
    return Animation(num_frames=num_frames, prompt_blend=blend, context=Context(**context)).resolved()


def test_a_prompt_that_stays_is_told_to_every_frame(spatial):
    rows = encoded(spatial, "cat", "dog", clip(3))
    expected = spatial.encode_text(["dog", "cat"]).repeat_frames(3)
    assert torch.equal(rows.tokens, expected.tokens)
    assert rows.pooled is None or torch.equal(rows.pooled, expected.pooled)


@pytest.mark.parametrize("blend", BLENDS)
def test_frames_between_two_keys_lie_between_their_prompts(spatial, blend):
    rows = encoded(spatial, "0: cat\n4: dog", "red", clip(blend=blend))
    cat, dog, red = (spatial.encode_text([text]) for text in ("cat", "dog", "red"))
    torch.testing.assert_close(rows.tokens[:4], red.tokens.expand(4, -1, -1))
    for frame in range(4):
        expected = BLENDS[blend](cat.tokens[0], dog.tokens[0], frame / 4)
        torch.testing.assert_close(rows.tokens[4 + frame], expected)
        if rows.pooled is not None:
            torch.testing.assert_close(rows.pooled[4 + frame], torch.lerp(cat.pooled[0], dog.pooled[0], frame / 4))


def test_both_prompts_travel_and_have_one_length(spatial):
    long = " ".join(["cat"] * 80)
    rows = encoded(spatial, f"0: {long}\n2: dog", "0: red\n2: dog", clip())
    assert rows.tokens.shape[:2] == (8, 2 * 77)
    torch.testing.assert_close(rows.tokens[3], rows.tokens[7])


def test_without_guidance_the_negative_prompt_is_not_computed(spatial):
    assert len(encoded(spatial, "0: cat\n2: dog", "0 smoth: a", clip(), cfg=1).tokens) == 4


def test_sdxl_is_told_nothing_by_an_empty_negative_prompt(loaded):
    """As the WebUI and diffusers have it; SD 1.5 reads the empty text."""
    rows = encoded(loaded["SDXL"], "cat", "", clip(2))
    cat = loaded["SDXL"].encode_text(["cat"]).repeat_frames(2)
    for part, expected in ((rows.tokens, cat.tokens), (rows.pooled, cat.pooled)):
        assert not part[:2].any()
        torch.testing.assert_close(part[2:], expected)
    assert encoded(loaded["SD 1.5"], "cat", "", clip(2)).tokens[:2].all(dim=-1).any()


def test_a_weight_travels(spatial):
    rows = encoded(spatial, "0: red (cat:0→1)", "", clip(5), cfg=1)
    ends = [spatial.encode_text([text]).tokens[0] for text in ("red (cat:0)", "red (cat:1)")]
    torch.testing.assert_close(rows.tokens[1], torch.lerp(*ends, 0.25))
    torch.testing.assert_close(rows.tokens[4], ends[1])


def test_times_go_by_the_rate_and_loops_close(loaded):
    animation = Animation(num_frames=8, context=Context(closed_loop="R+P"), output=Output(fps=4)).resolved()
    rows = encoded(loaded["SD 1.5"], "0: cat\n1s: dog", "", animation, cfg=1)
    torch.testing.assert_close(rows.tokens[6], rows.tokens[2])


def test_what_may_be_meant_otherwise_is_said_once(loaded):
    said = []
    encoded(loaded["SD 1.5"], "0: cat\n3 = dog", "0: cat\n3 = dog", clip(), warn=said.append)
    assert len(said) == 1


def test_a_mistake_is_one_sentence(loaded):
    with pytest.raises(TravelError, match="perhaps smooth"):
        encoded(loaded["SD 1.5"], "0: cat\n3 smoth: dog", "", clip())
