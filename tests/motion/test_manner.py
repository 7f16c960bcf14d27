"""What a call asks of a motion module: views, the scale of keys, positions beyond the table."""

import pytest
import torch
import torch.nn.functional as F

from animatediff_ext.context import WEIGHTS, fused
from animatediff_ext.context.windows import static
from animatediff_ext.motion.manner import Manner
from animatediff_ext.motion.positions import BEYOND, sinusoids
from tests.models.motion import motion_config, random_motion

SITE = "down_blocks.0.motion_modules.0"


def module(**config):
    return random_motion(motion_config("v3", **config)).at(SITE)


def views_of(num_frames, length=16, overlap=12):
    return fused(static(num_frames, length=length, overlap=overlap), curve=WEIGHTS["pyramid"], overlap=overlap)


@pytest.mark.parametrize("num_frames", range(16, 41))
def test_weights_of_views_sum_to_one_for_every_frame(num_frames):
    """Where attention gives 1 for every frame, so must the views: the last one as well, which may be a short hop."""
    attention = module().temporal_transformer.transformer_blocks[0].attention_blocks[0]
    attention.to_qkv.weight.zero_()
    attention.to_qkv.weight[64:] = torch.eye(32)  # v is the input
    attention.pos_encoder.pe.zero_()
    attention.to_out[0].weight.copy_(torch.eye(32))
    attention.to_out[0].bias.zero_()
    x = torch.ones(3, num_frames, 32)
    out = attention(x, Manner(num_frames=num_frames, views=views_of(num_frames)))
    torch.testing.assert_close(out, x, atol=1e-6, rtol=0)


def test_a_view_of_all_frames_is_no_view():
    m, x = module(), torch.randn(8, 32, 3, 3)
    whole = [(range(8), [1.0] * 8)]
    torch.testing.assert_close(m(x, Manner(num_frames=8, views=whole)), m(x, 8), atol=1e-5, rtol=1e-5)


def test_views_that_do_not_overlap_are_clips_of_their_own():
    m, x = module(), torch.randn(8, 32, 3, 3)
    views = [(range(4), [1.0] * 4), (range(4, 8), [1.0] * 4)]
    apart = torch.cat([m(x[:4], 4), m(x[4:], 4)])
    torch.testing.assert_close(m(x, Manner(num_frames=8, views=views)), apart, atol=1e-5, rtol=1e-5)


def test_overlapping_views_are_the_weighted_mean_of_attention():
    """Against attention by hand in each view, the positions of which begin anew."""
    attention = module().temporal_transformer.transformer_blocks[0].attention_blocks[0]
    x = torch.randn(2, 6, 32)
    views = [((0, 1, 2, 3), (1.0, 1.0, 0.25, 0.5)), ((2, 3, 4, 5), (0.75, 0.5, 1.0, 1.0))]
    expected = torch.zeros(2, 6, 32)
    for frames, weights in views:
        part = attention(x[:, frames], Manner(num_frames=4)) - attention.to_out[0].bias
        for i, (frame, weight) in enumerate(zip(frames, weights, strict=True)):
            expected[:, frame] += weight * part[:, i]
    expected += attention.to_out[0].bias
    torch.testing.assert_close(attention(x, Manner(num_frames=6, views=views)), expected, atol=1e-5, rtol=1e-5)


def test_scale_multiplies_the_keys_of_each_frame(monkeypatch):
    seen = []
    attention = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda q, k, v: seen.append(k) or attention(q, k, v))
    m, x = module(), torch.randn(3, 32, 2, 2)
    m(x, 3)
    m(x, Manner(num_frames=3, scale=(1.0, 2.0, 0.5)))
    first, scaled = seen[0], seen[2]  # of the first attention, which has the same input both times
    torch.testing.assert_close(scaled, first * torch.tensor([1.0, 2.0, 0.5]).view(1, 1, 3, 1))


def test_a_scale_of_ones_changes_nothing():
    m, x = module(), torch.randn(3, 32, 2, 2)
    assert torch.equal(m(x, Manner(num_frames=3, scale=(1.0, 1.0, 1.0))), m(x, 3))


@pytest.mark.parametrize("name", ["stretch", "interpolate"])
def test_beyond_the_table_positions_run_from_its_first_row_to_its_last(name):
    table = sinusoids(8, 32)[0]
    longer = BEYOND[name](table, 15)  # every second one is a row of the table
    torch.testing.assert_close(longer[::2], table, atol=1e-5, rtol=0)
    between = (table[:-1] + table[1:]) / 2
    assert torch.allclose(longer[1::2], between, atol=1e-5) == (name == "interpolate")


def test_a_capped_table_repeats_its_last_row():
    table = sinusoids(4, 32)[0]
    assert torch.equal(BEYOND["cap"](table, 6), table[[0, 1, 2, 3, 3, 3]])


def test_windows_beyond_the_table_work_when_it_is_said_how():
    m, x = module(num_positions=4), torch.randn(6, 32, 2, 2)
    with pytest.raises(ValueError, match="knows 4 positions"):
        m(x, 6)
    outs = [m(x, Manner(num_frames=6, positions=name)) for name in ("stretch", "interpolate", "cap")]
    assert all(out.isfinite().all() for out in outs)
    assert not torch.allclose(outs[0], outs[2])
