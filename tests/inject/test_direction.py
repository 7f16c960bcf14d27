"""How much motion modules move which frames, where in the UNet and when; and several of them together."""

import pytest
import torch

from animatediff_ext.inject import Direction, MisfitError, injected
from tests.inject.test_border import inputs, traces
from tests.models.motion import motion_config, random_motion
from tests.models.unets import ldm_unet

F = 4


@pytest.fixture(scope="module")
def unet():
    return ldm_unet()


@pytest.fixture(scope="module")
def call():
    return inputs(2 * F)


def answer(unet, motion, call, windows=None, **direction):
    with (
        torch.no_grad(),
        injected(unet, motion, num_frames=F, direction=lambda: Direction(**direction), windows=windows),
    ):
        return unet(*call)


@pytest.mark.parametrize("family", ["v1", "v2"])
def test_effect_0_is_the_unet_without_modules_bit_by_bit(unet, call, family):
    """With the norms of v1 as well, which otherwise span the clip."""
    motion = random_motion(motion_config(family))
    with torch.no_grad():
        plain = unet(*call)
    assert torch.equal(answer(unet, motion, call, effect=[0.0] * F), plain)
    assert torch.equal(answer(unet, motion, call, blocks={"down_blocks": 0, "mid_block": 0, "up_blocks": 0}), plain)
    assert not torch.allclose(answer(unet, motion, call), plain)


@pytest.mark.parametrize("family", ["v1", "v2"])
def test_effect_1_is_the_module_bit_by_bit(unet, call, family):
    motion = random_motion(motion_config(family))
    assert torch.equal(answer(unet, motion, call, effect=[1.0] * F), answer(unet, motion, call))


def test_effect_is_a_share_of_what_a_module_changes(unet):
    """At the last module, behind which nothing but the output layer comes."""
    motion = random_motion(motion_config("v2"))
    site, seen = "up_blocks.3.motion_modules.2", []
    handle = unet.out.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    try:
        call = inputs(F)
        others = {"down_blocks": 0.0, "mid_block": 0.0, "up_blocks": 0.0}
        for effect in ([0.0, 0.0, 0.0, 1e-9], [1.0] * F, [0.25, 0.5, 2.0, -1.0]):
            answer(unet, motion, call, effect=effect, blocks=others | {site: 1.0})
    finally:
        handle.remove()
    nothing, all_of_it, some = seen
    shares = torch.tensor([0.25, 0.5, 2.0, -1.0]).view(-1, 1, 1, 1)
    torch.testing.assert_close(some, nothing + shares * (all_of_it - nothing), atol=1e-4, rtol=1e-4)


def test_the_longest_name_of_a_block_counts():
    direction = Direction(blocks={"up_blocks": 0.5, "up_blocks.1": 2.0, "up_blocks.1.motion_modules.0": 3.0})
    sites = {
        "up_blocks.0.motion_modules.0": 0.5,
        "up_blocks.1.motion_modules.1": 2.0,
        "up_blocks.1.motion_modules.0": 3.0,
        "up_blocks.11.motion_modules.0": 0.5,
        "down_blocks.1.motion_modules.0": 1.0,
    }
    assert {site: direction.effect_at(site, [0])[0] for site in sites} == sites


def test_in_a_window_frames_have_their_own_effect(unet):
    """Frames 2 and 3 go through together, and only frame 3 is to move."""
    motion, call = random_motion(motion_config("v2")), inputs(F)
    windows = [((0, 1), (1.0, 1.0)), ((2, 3), (1.0, 1.0))]
    with torch.no_grad():
        plain = unet(*call)
    blocks = {"down_blocks": 0.0, "mid_block": 0.0, "up_blocks": 0.0, "up_blocks.3.motion_modules.2": 1.0}
    out = answer(unet, motion, call, windows=lambda: windows, effect=[0.0, 0.0, 0.0, 1.0], blocks=blocks)
    torch.testing.assert_close(out[:3], plain[:3], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(out[3], plain[3], atol=1e-3)


def test_two_modules_are_blended_by_weight(unet, call):
    one, other = (random_motion(motion_config("v2"), seed=seed) for seed in (1, 2))
    only_one = answer(unet, one, call)
    torch.testing.assert_close(answer(unet, [(one, 1.0), (other, 0.0)], call), only_one, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(answer(unet, [(one, 0.5), (one, 0.5)], call), only_one, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(answer(unet, [(one, 0.5), (other, 0.5)], call), only_one, atol=1e-2)


def test_modules_that_need_other_norms_are_not_blended(unet, call):
    before = traces(unet)
    blend = [(random_motion(motion_config(family)), 0.5) for family in ("v1", "v3")]
    with pytest.raises(MisfitError, match=r"AnimateDiff v1 and AnimateDiff v3 cannot be blended"):
        answer(unet, blend, call)
    assert traces(unet) == before


def test_in_views_the_unet_runs_once(unet):
    """Every frame is computed once, however the views overlap."""
    motion, calls = random_motion(motion_config("v2")), []
    views = [((0, 1, 2), (1.0, 0.5, 0.5)), ((1, 2, 3), (0.5, 0.5, 1.0))]
    handle = unet.input_blocks[0].register_forward_pre_hook(lambda _module, args: calls.append(len(args[0])))
    try:
        answer(unet, motion, inputs(F), views=views)
    finally:
        handle.remove()
    assert calls == [F]
