"""Our conversion against diffusers' own MotionAdapter."""

import json
from dataclasses import replace

import pytest
import torch
from diffusers import MotionAdapter
from safetensors.torch import load_file, save_file

from animatediff_ext.formats import (
    from_diffusers,
    load_motion_module,
    save_motion_adapter,
    to_diffusers,
)
from animatediff_ext.motion import MotionModel
from tests.formats.building import assert_equal, toy, weights
from tests.models.motion import motion_config, random_motion

FULL = {
    "v1": (320, 640, 1280, 1280),
    "v2": (320, 640, 1280, 1280),
    "sdxl-beta": (320, 640, 1280),
}


def adapter_for(model):
    config = model.config
    return MotionAdapter(
        block_out_channels=tuple(block[0] for block in config.down_channels),
        motion_layers_per_block=len(config.down_channels[0]),
        use_motion_mid_block=bool(config.mid_channels),
        motion_max_seq_length=config.num_positions,
    )


@pytest.mark.parametrize("family", FULL)
def test_full_size_names_and_shapes_are_those_of_diffusers(family):
    with torch.device("meta"):
        ours = MotionModel(motion_config(family, widths=FULL[family]))
        theirs = adapter_for(ours).state_dict()
    written = to_diffusers(ours.state_dict())
    assert {n: t.shape for n, t in written.items()} == {n: t.shape for n, t in theirs.items()}
    back = from_diffusers(theirs)
    assert {n: t.shape for n, t in back.items()} == {n: t.shape for n, t in ours.state_dict().items()}


@pytest.mark.parametrize("family", ["v1", "v2", "sdxl-beta"])
def test_weights_go_to_diffusers_and_back_unchanged(family):
    model = toy(family)
    adapter = adapter_for(model)
    adapter.load_state_dict(to_diffusers(weights(model)), strict=True)
    assert_equal(from_diffusers(adapter.state_dict()), model.state_dict())


def test_diffusers_computes_the_same_from_converted_weights():
    model = toy("sdxl-beta")  # diffusers' module norm is over the clip, which is right for this family alone
    adapter = adapter_for(model).eval()
    adapter.load_state_dict(to_diffusers(weights(model)), strict=True)
    x = torch.randn(2 * 5, 64, 3, 4)
    with torch.no_grad():
        ours = model.at("down_blocks.1.motion_modules.0")(x, 5)
        theirs = adapter.down_blocks[1].motion_modules[0](x, num_frames=5)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["v1", "v2", "lightning", "sdxl-beta", "hotshot-xl"])
def test_diffusers_opens_the_folder_that_we_write(family, tmp_path):
    model = toy(family)
    save_motion_adapter(model, tmp_path / "adapter", dtype=torch.float32)
    adapter, report = MotionAdapter.from_pretrained(tmp_path / "adapter", output_loading_info=True)
    assert not any(report.values())
    assert adapter.config.motion_max_seq_length == model.config.num_positions
    assert_equal(from_diffusers(adapter.state_dict()), model.state_dict())
    assert load_motion_module(tmp_path / "adapter").config == model.config


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("variant", [None, "fp16"])
def test_folders_that_diffusers_writes_are_opened(safe, variant, tmp_path):
    model = toy("v2")
    adapter = adapter_for(model)
    adapter.load_state_dict(to_diffusers(weights(model)))
    adapter.save_pretrained(tmp_path, safe_serialization=safe, variant=variant)
    loaded = load_motion_module(tmp_path)
    assert loaded.config == model.config
    assert_equal(loaded.state_dict(), model.state_dict())


def test_a_folder_tells_heads_groups_and_a_length_that_its_file_leaves_out(tmp_path):
    config = motion_config("v1")
    save_motion_adapter(random_motion(config), tmp_path)
    (weights_file,) = tmp_path.glob("*.safetensors")
    save_file({n: t for n, t in load_file(weights_file).items() if not n.endswith(".pe")}, weights_file)
    stated = json.loads((tmp_path / "config.json").read_text())
    stated |= {"motion_num_attention_heads": [4] * 4, "motion_norm_num_groups": 16, "motion_max_seq_length": 20}
    (tmp_path / "config.json").write_text(json.dumps(stated))
    for path in (tmp_path, weights_file):
        loaded = load_motion_module(path)
        facts = loaded.config
        assert (facts.num_heads, facts.num_groups, facts.num_positions, facts.family.name) == (4, 16, 20, "v1")
        assert loaded.info.positions_from == "formula"


def test_a_layout_without_diffusers_words_is_refused(tmp_path):
    config = motion_config("v2")
    odd = random_motion(replace(config, up_channels=config.down_channels))
    with pytest.raises(ValueError, match="cannot describe this layout"):
        save_motion_adapter(odd, tmp_path)
    assert list(tmp_path.iterdir()) == []
