import pytest
import torch
import torch.nn.functional as F
from einops import rearrange

from animatediff_ext.motion import MotionModel
from animatediff_ext.motion import layers as motion_layers
from animatediff_ext.motion.manner import Manner
from tests.models.motion import motion_config, random_motion

SITE = "down_blocks.0.motion_modules.0"


def module(family="v3", **changes):
    return random_motion(motion_config(family, **changes)).at(SITE)


def official_attention(layer, x):
    """The official way: position added to the tokens, three products, heads as a batch, an explicit softmax."""
    n, f = layer.num_heads, x.shape[1]
    to_q, to_k, to_v = layer.to_qkv.weight.chunk(3)
    h = x + layer.pos_encoder.pe[:, :f]
    q, k, v = (rearrange(F.linear(h, w), "b f (n d) -> (b n) f d", n=n) for w in (to_q, to_k, to_v))
    weights = (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(-1)
    return layer.to_out[0](rearrange(weights @ v, "(b n) f d -> b f (n d)", n=n))


def test_folded_positions_and_one_product_change_nothing():
    layer = module().temporal_transformer.transformer_blocks[0].attention_blocks[0]
    x = torch.randn(6, 9, 32)
    torch.testing.assert_close(
        layer(x, Manner(num_frames=x.shape[1])), official_attention(layer, x), atol=1e-5, rtol=1e-5
    )


def test_without_positions_the_frames_are_interchangeable():
    m = module()
    for attention in m.temporal_transformer.transformer_blocks[0].attention_blocks:
        attention.pos_encoder.pe.zero_()
    x, order = torch.randn(6, 32, 3, 4), torch.randperm(6)
    torch.testing.assert_close(m(x[order], 6), m(x, 6)[order], atol=1e-5, rtol=1e-5)


def test_streams_do_not_see_each_other():
    m = module(family="sdxl-beta", widths=(32, 64, 64))
    a, b = torch.randn(5, 32, 3, 4), torch.randn(5, 32, 3, 4)
    torch.testing.assert_close(m(torch.cat([a, b]), 5), torch.cat([m(a, 5), m(b, 5)]), atol=1e-5, rtol=1e-5)


def test_chunks_change_nothing(monkeypatch):
    m, x = module(), torch.randn(10, 32, 6, 7)
    monkeypatch.setitem(motion_layers.CHUNK_TOKENS, "cpu", 10_000)
    whole = m(x, 5)
    monkeypatch.setitem(motion_layers.CHUNK_TOKENS, "cpu", 20)
    torch.testing.assert_close(m(x, 5), whole, atol=1e-6, rtol=1e-6)


def test_no_attention_call_exceeds_the_rows_that_cuda_allows(monkeypatch):
    monkeypatch.setitem(motion_layers.CHUNK_TOKENS, "cpu", 1_000_000)
    seen = []
    attention = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda q, k, v: seen.append(q.shape) or attention(q, k, v))
    x = torch.randn(2, 32, 256, 257)  # 131,584 places
    chunked = module()(x, 1)
    assert [shape[0] for shape in seen] == [65_535, 65_535, 65_535, 65_535, 514, 514]
    assert chunked.shape == x.shape


def test_a_norm_over_the_clip_sees_all_frames_and_one_over_frames_does_not():
    x = torch.randn(4, 32, 3, 4)
    louder = x.clone()
    louder[3] *= 50

    def first_frame_changes(family, widths):
        transformer = module(family=family, widths=widths).temporal_transformer
        return not torch.allclose(transformer._normalise(x, 4)[0], transformer._normalise(louder, 4)[0])

    assert first_frame_changes("sdxl-beta", (32, 64, 64))
    assert not first_frame_changes("v2", (32, 64, 64, 64))


def test_a_new_module_is_the_identity():
    x = torch.randn(4, 32, 3, 4)
    fresh = MotionModel(motion_config("v3")).at(SITE)
    torch.testing.assert_close(fresh(x, 4), x, rtol=0, atol=0)


def test_more_frames_than_positions_is_said_clearly():
    with pytest.raises(ValueError, match=r"30 frames .* knows 24 positions"):
        module(num_positions=24)(torch.randn(30, 32, 2, 2), 30)


def test_a_state_dict_speaks_the_official_keys_and_comes_back_equal():
    motion = random_motion(motion_config("v2"))
    state = motion.state_dict()
    assert not [key for key in state if "qkv" in key]
    with torch.device("meta"):
        again = MotionModel(motion.config)
    again.load_state_dict({key: value.clone() for key, value in state.items()}, assign=True)
    x = torch.randn(4, 32, 3, 4)
    torch.testing.assert_close(again.at(SITE)(x, 4), motion.at(SITE)(x, 4), rtol=0, atol=0)


def test_gradients_are_those_of_the_official_arithmetic():
    layer = module().temporal_transformer.transformer_blocks[0].requires_grad_(True)
    x = torch.randn(3, 5, 32)

    def plain(block, x):
        for norm, attention in zip(block.norms, block.attention_blocks, strict=True):
            x = x + official_attention(attention, norm(x))
        value, gate = block.ff.net[0].proj(block.ff_norm(x)).chunk(2, dim=-1)
        return x + block.ff.net[2](value * F.gelu(gate))

    names, weights = zip(*layer.named_parameters(), strict=True)
    ours = torch.autograd.grad(layer(x, Manner(num_frames=5)).square().sum(), weights)
    theirs = torch.autograd.grad(plain(layer, x).square().sum(), weights)
    for name, a, b in zip(names, ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-4, msg=name)
