"""Names of weights, there and back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from animatediff_ext.formats import from_diffusers, from_hotshot, to_diffusers, to_hotshot
from animatediff_ext.formats.spelling import motion_names, official
from animatediff_ext.motion import MotionModel
from tests.formats.building import IMAGE_LAYERS, WRAPPINGS, toy, without_tables
from tests.models.motion import motion_config, random_motion

SPELLINGS = {"diffusers": (to_diffusers, from_diffusers), "hotshot": (to_hotshot, from_hotshot)}

layouts = st.fixed_dictionaries(
    {
        "family": st.sampled_from(["v1", "v2", "sdxl-beta"]),
        "widths": st.lists(st.sampled_from([32, 64]), min_size=1, max_size=5),
        "per_level": st.integers(1, 3),
        "num_positions": st.integers(1, 80),
    }
)


def same(one, other):
    return one.keys() == other.keys() and all(one[name] is other[name] for name in one)


@pytest.mark.parametrize("name", SPELLINGS)
@settings(max_examples=25, deadline=None)
@given(layout=layouts)
def test_every_layout_survives_there_and_back(name, layout):
    write, read = SPELLINGS[name]
    with torch.device("meta"):
        state = MotionModel(motion_config(**layout)).state_dict()
    back = read(write(state))
    assert back.keys() == state.keys()
    assert all(back[key].shape == state[key].shape for key in state)


@pytest.mark.parametrize("name", SPELLINGS)
def test_only_names_change_never_a_tensor(name):
    write, read = SPELLINGS[name]
    state = without_tables(toy().state_dict())
    assert same(read(write(state)), state)


def test_official_names_are_left_alone():
    state = toy().state_dict()
    assert same(official(state), state)


@pytest.mark.parametrize("wrapping", ["diffusers", "hotshot", "without temporal_transformer"])
def test_the_spelling_of_a_file_is_noticed(wrapping):
    state = without_tables(toy().state_dict())
    assert same(official(WRAPPINGS[wrapping](state)), state)


def test_diffusers_one_table_serves_both_attentions():
    state = toy(per_level=2).state_dict()
    written = to_diffusers(state)
    assert sum(name.endswith("pos_embed.pe") for name in written) == 21
    assert sum(name.endswith("pos_encoder.pe") for name in from_diffusers(written)) == 42


def test_one_attention_has_diffusers_names_and_three_have_none():
    block = "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0"
    one = {f"{block}.attention_blocks.0.to_q.weight": 0, f"{block}.norms.0.bias": 1, f"{block}.ff_norm.bias": 2}
    assert list(to_diffusers(one)) == [
        "down_blocks.0.motion_modules.0.transformer_blocks.0.attn1.to_q.weight",
        "down_blocks.0.motion_modules.0.transformer_blocks.0.norm1.bias",
        "down_blocks.0.motion_modules.0.transformer_blocks.0.norm3.bias",
    ]
    assert from_diffusers(to_diffusers(one)) == one
    with pytest.raises(ValueError, match="two attentions"):
        to_diffusers({f"{block}.attention_blocks.2.to_q.weight": 0})


def test_motion_names_are_picked_out_with_their_prefix():
    names = ["module.unet.mid_block.motion_modules.0.norm.bias", "optimizer.state.0.step", *IMAGE_LAYERS]
    assert motion_names(names) == {"module.unet.": {"mid_block.motion_modules.0.norm.bias": names[0]}}


@given(st.lists(st.text(max_size=60)))
def test_any_other_names_are_no_motion_names(names):
    assert motion_names(name for name in names if "mo" not in name and "temporal" not in name) == {}


def test_random_weights_are_not_all_equal():
    """The fixtures of these tests would notice two swapped tensors."""
    state = random_motion(motion_config("v1")).state_dict()
    sums = [float(t.double().sum()) for name, t in state.items() if not name.endswith(".pe")]
    assert len(set(sums)) == len(sums)
