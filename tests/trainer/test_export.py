"""What a run writes is read by our loader, by diffusers, and by the key rules of the tools that people use."""

import re

import pytest
import torch
from diffusers import MotionAdapter
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from animatediff_ext.formats import describe, load_lora, load_motion_module, save_motion_adapter
from animatediff_ext.inject import LowRank, injected, low_rank_added, motion_attention_layers, spatial_attention_layers
from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.export import baked, export
from animatediff_ext.trainer.export_state import export_state
from animatediff_ext.trainer.run import train
from animatediff_ext.trainer.state import states_folder, states_in
from tests.trainer.comparing import assert_same, prediction


def with_random_weights(trainer):
    """As if it had been trained: what starts as zero does not stay so."""
    random = torch.Generator().manual_seed(3)
    for name, parameter in trainer.stage.trained.named_parameters():
        if "proj_out." in name or name.endswith("up"):
            parameter.data.normal_(std=0.1, generator=random)
    return trainer


def metadata_of(path):
    with safe_open(str(path), framework="pt") as file:
        return file.metadata()


# ---- motion modules ----


@pytest.mark.parametrize("family", ["v1", "v2", "v3", "sdxl-beta"])
def test_an_exported_module_is_what_was_trained(runs, sdxl_base, family):
    changed = {"base__checkpoint": sdxl_base} if family == "sdxl-beta" else {}
    trainer = with_random_weights(runs.trainer("motion", motion__family=family, export__dtype="float32", **changed))
    (path,) = export(trainer.stage, trainer.config, 1)
    motion, spatial = load_motion_module(path), trainer.stage.spatial
    assert motion.config == trainer.stage.motion.config
    plain = prediction(spatial)
    trainer.attach(3)
    trained = prediction(spatial)
    trainer.detach()
    with injected(spatial.unet, motion, num_frames=3):
        loaded = prediction(spatial)
    torch.testing.assert_close(loaded, trained, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(loaded, plain, atol=1e-2)


@pytest.mark.parametrize("family", ["v1", "v2", "v3", "sdxl-beta"])
def test_the_family_is_told_without_our_metadata(runs, sdxl_base, tmp_path, family):
    changed = {"base__checkpoint": sdxl_base} if family == "sdxl-beta" else {}
    trainer = runs.trainer("motion", motion__family=family, **changed)
    (path,) = export(trainer.stage, trainer.config, 1)
    save_file(load_file(path), tmp_path / "bare.safetensors")
    assert describe(tmp_path / "bare.safetensors").family == family


def test_the_keys_are_those_that_other_tools_ask_for(runs):
    """AnimateDiff-Evolved and sd-webui-animatediff: only temporal keys, a position table, no prefix, and layouts told
    by the number of the last down block and by a middle block."""
    for family, has_middle in (("v2", True), ("v3", False)):
        trainer = runs.trainer("motion", motion__family=family)
        (path,) = export(trainer.stage, trainer.config, 1)
        tensors = load_file(path)
        assert all("temporal" in name and not name.startswith("module.") for name in tensors)
        assert max(int(re.match(r"down_blocks\.(\d)", name)[1]) for name in tensors if name.startswith("down")) == 3
        assert any("mid_block" in name for name in tensors) == has_middle
        tables = [tensor for name, tensor in tensors.items() if "pos_encoder.pe" in name]
        assert {tuple(table.shape[:2]) for table in tables} == {(1, 32)}
        assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}


def test_diffusers_takes_an_exported_module(runs, tmp_path):
    trainer = with_random_weights(runs.trainer("motion", motion__family="v2"))
    (path,) = export(trainer.stage, trainer.config, 1)
    save_motion_adapter(load_motion_module(path), tmp_path / "adapter", dtype=torch.float32)
    adapter = MotionAdapter.from_pretrained(tmp_path / "adapter", low_cpu_mem_usage=False)
    ours = load_file(path)
    theirs = adapter.state_dict()
    name = "down_blocks.0.motion_modules.0.{}transformer_blocks.0.{}.to_q.weight"
    torch.testing.assert_close(
        theirs[name.format("", "attn2")],
        ours[name.format("temporal_transformer.", "attention_blocks.1")].float(),
    )


def test_the_file_says_where_it_comes_from(runs):
    trainer = runs.trainer("motion", diffusion__schedule="scaled_linear", run__name="dance")
    (path,) = export(trainer.stage, trainer.config, 77)
    found = metadata_of(path)
    assert found["animatediff_family"] == "v3"
    assert '"kind": "scaled_linear"' in found["animatediff_noise_schedule"]
    assert found["animatediff_stride"] == "2"
    assert found["animatediff_sizes"] == "64x64x4"
    assert found["animatediff_steps"] == "77"
    assert len(found["animatediff_base_sha256"]) == 64
    assert found["modelspec.title"] == "dance"
    assert load_motion_module(path).config.family.schedule.kind == "scaled_linear"


def test_files_can_be_read_by_those_who_may_read_the_users_other_files(runs, tmp_path):
    (tmp_path / "other").touch()
    trainer = runs.trainer("motion")
    (path,) = export(trainer.stage, trainer.config, 1)
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_weights_that_are_no_numbers_are_not_exported(runs):
    trainer = runs.trainer("motion")
    trainer.parameters[0].data.fill_(1e6)
    with pytest.raises(TrainError, match="float16 cannot hold"):
        export(trainer.stage, trainer.config, 1)


def test_the_running_mean_is_what_is_exported(runs):
    config = runs.config("motion", ema__decay=0.9, export__dtype="float32")
    (path,) = train("motion", config)
    state = torch.load(states_in(states_folder(config.run.output))[-1], weights_only=True)
    exported = load_file(path)
    name = "up_blocks.3.motion_modules.1.temporal_transformer.proj_out.weight"
    assert not torch.equal(exported[name], state["trained"][name])
    assert any(torch.equal(exported[name], mean) for mean in state["ema"])


@pytest.mark.parametrize("stage", ["adapter", "motion", "lora"])
def test_a_state_gives_the_same_files_as_its_run(runs, motion_module, tmp_path, stage):
    options = {
        "adapter": {"sample__buckets": '["64x64x1"]'},
        "motion": {"ema__decay": 0.9},
        "lora": {"motion__init": motion_module},
    }[stage]
    files = train(stage, runs.config(stage, run__steps=2, **options))
    state = states_in(states_folder(runs.folder / "run"))[-1]
    again = export_state(state, folder=tmp_path / "again")
    for one, other in zip(files, again, strict=True):
        assert one.name == other.name
        assert_same(load_file(one), load_file(other))
        assert metadata_of(one) == metadata_of(other)


# ---- low-rank matrices ----


@pytest.fixture
def lora(runs, motion_module):
    """A motion LoRA whose alpha is not its rank."""
    return with_random_weights(
        runs.trainer("lora", motion__init=motion_module, lora__rank=4, lora__alpha=2, export__dtype="float32")
    )


def additions_of(path, layers):
    return {name: LowRank.of(*pair) for name, pair in load_lora(path).for_layers(layers).items()}


def test_a_motion_lora_has_the_official_keys_with_alpha_in_them(lora):
    (path,) = export(lora.stage, lora.config, 1)
    tensors = load_file(path)
    pattern = (
        r"(down_blocks|up_blocks)\.\d\.motion_modules\.\d\.temporal_transformer\.transformer_blocks\.0"
        r"\.attention_blocks\.[01]\.processor\.to_(q|k|v|out)_lora\.(down|up)\.weight"
    )
    assert all(re.fullmatch(pattern, name) for name in tensors)
    assert len(tensors) == (4 + 8) * 2 * 4 * 2
    assert describe(path).kind == "motion-lora"
    name, part = next(iter(lora.stage.trained.additions.items()))
    parent, _, layer = name.rpartition(".")
    torch.testing.assert_close(tensors[f"{parent}.processor.{layer}_lora.up.weight"], part.up * (2 / 4))


@pytest.mark.parametrize("strength", [-1.0, 0.0, 1.0])
def test_merged_and_added_while_running_are_the_same(lora, motion_module, strength):
    """W + strength · up down in the weights, with the exported file's matrices, is what the run computed."""
    (path,) = export(lora.stage, lora.config, 1)
    spatial = lora.stage.spatial
    merged = load_motion_module(motion_module)
    weights = merged.state_dict()
    for name, (down, up) in load_lora(path).for_layers(motion_attention_layers(merged)).items():
        weights[f"{name}.weight"] = weights[f"{name}.weight"] + strength * up @ down
    merged.load_state_dict(weights)
    with injected(spatial.unet, merged, num_frames=3):
        expected = prediction(spatial)

    motion = load_motion_module(motion_module)
    layers = motion_attention_layers(motion)
    with injected(spatial.unet, motion, num_frames=3):
        without = prediction(spatial)
        with low_rank_added(layers, additions_of(path, layers), strength):
            added = prediction(spatial)
        assert torch.equal(prediction(spatial), without)
    torch.testing.assert_close(added, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(added, without) == (strength == 0)


def test_a_motion_lora_for_a_middle_block_works_where_there_is_none(runs, motion_module):
    trained = runs.trainer("motion", motion__family="v2")
    (v2,) = export(trained.stage, trained.config, 1)
    lora = with_random_weights(runs.trainer("lora", motion__init=v2, run__name="pan"))
    (path,) = export(lora.stage, lora.config, 1)
    assert any(name.startswith("mid_block") for name in load_file(path))
    layers = motion_attention_layers(load_motion_module(motion_module))
    assert load_lora(path).for_layers(layers).keys() == layers.keys()


def test_an_adapter_is_written_for_official_tools_and_for_the_webui(runs):
    trainer = with_random_weights(
        runs.trainer("adapter", sample__buckets='["64x64x1"]', lora__alpha=2, export__dtype="float32")
    )
    official, webui = export(trainer.stage, trainer.config, 1)
    assert describe(official).kind == "domain-adapter"
    assert "down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight" in load_file(
        official
    )
    names = load_file(webui)
    assert "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0.lora_up.weight" in names
    assert names["lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v.alpha"] == 4
    assert metadata_of(webui)["ss_network_dim"] == "4"

    spatial = trainer.stage.spatial
    trainer.attach(1)
    trained = prediction(spatial)
    trainer.detach()
    layers = spatial_attention_layers(spatial.unet)
    for path in (official, webui):
        with low_rank_added(layers, additions_of(path, layers)):
            torch.testing.assert_close(prediction(spatial), trained)


def test_baked_matrices_are_the_trained_product(lora):
    name, part = next(iter(lora.stage.trained.additions.items()))
    down, up = baked(lora.stage.trained)[name]
    x = torch.randn(5, down.shape[1])
    torch.testing.assert_close(x @ down.T @ up.T, part(x))
