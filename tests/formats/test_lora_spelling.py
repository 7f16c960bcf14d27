"""LoRA files as other programs write them, and the alpha that they mean."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from animatediff_ext.formats import FormatError, load_lora
from animatediff_ext.formats.lora_file import flat
from animatediff_ext.inject.low_rank import motion_layers
from tests.formats.building import prefixed, toy, write
from tests.formats.loras import (
    QUERY,
    assert_same,
    diffusers,
    diffusers_layer,
    kohya,
    motion,
    motion_director,
    motion_director_spatial,
    official,
    random_pairs,
    spatial,
    spelled,
)
from tests.models.ldm_unet import diffusers_name
from tests.models.unets import diffusers_sdxl_unet, diffusers_unet, ldm_sdxl_unet, ldm_unet

MAPS = Path("/proc/self/maps")

SPELLINGS = {
    "official": official,
    "official, of distributed training": lambda pairs: prefixed("module.", official(pairs)),
    "official, of a pipeline": lambda pairs: prefixed("module.unet.", official(pairs)),
    "Hotshot-XL's names": lambda pairs: {
        re.sub(r"motion_modules\.(\d)\.temporal_transformer", r"temporal_attentions.\1", name): tensor
        for name, tensor in official(pairs).items()
    },
    "MotionDirector": motion_director,
    "MotionDirector, its own names": lambda pairs: spelled(pairs, ".lora_down.weight", ".lora_up.weight"),
    "diffusers": diffusers(".lora_A.weight", ".lora_B.weight"),
    "diffusers, older": diffusers(".lora.down.weight", ".lora.up.weight"),
    "diffusers, oldest": lambda pairs: official({f"unet.{diffusers_layer(name)}": p for name, p in pairs.items()}),
    "PEFT": diffusers(".lora_A.weight", ".lora_B.weight", "base_model.model."),
    "PEFT, in memory": diffusers(".lora_A.default.weight", ".lora_B.default.weight", "base_model.model.unet."),
    "kohya": kohya,
    "kohya, diffusers' names": lambda pairs: kohya(pairs, diffusers_layer),
    "flat without prefix (conrevo)": lambda pairs: kohya(pairs, prefix=""),
    "dotted kohya": lambda pairs: spelled(pairs, ".lora_down.weight", ".lora_up.weight", lambda name: f"unet.{name}"),
}


@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_a_motion_lora_gives_the_same_matrices(spelling, ending, tmp_path):
    pairs = random_pairs(motion())
    lora = load_lora(write(tmp_path / f"pan.{ending}", SPELLINGS[spelling](pairs)))
    assert lora.kind == "motion-lora"
    assert_same(lora.for_layers(motion()), pairs)


@pytest.mark.parametrize("make", [diffusers_unet, diffusers_sdxl_unet])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_a_spatial_lora_gives_the_same_matrices(spelling, make, tmp_path):
    pairs = random_pairs(spatial(make))
    lora = load_lora(write(tmp_path / "adapter.safetensors", SPELLINGS[spelling](pairs)))
    assert lora.kind in ("lora", "domain-adapter")
    assert_same(lora.for_layers(spatial(make)), pairs)


@pytest.mark.parametrize(
    "rename",
    [
        pytest.param(lambda name: f"lora_unet_{name.replace('.', '_')}", id="kohya, SDXL"),
        pytest.param(lambda name: f"diffusion_model.{name}", id="ComfyUI"),
        pytest.param(lambda name: f"model.diffusion_model.{name}", id="a checkpoint's prefix"),
    ],
)
@pytest.mark.parametrize(("ldm", "make"), [(ldm_unet, diffusers_unet), (ldm_sdxl_unet, diffusers_sdxl_unet)])
def test_ldm_names_of_attention_are_those_of_diffusers(ldm, make, rename, tmp_path):
    pairs = random_pairs(spatial(make))
    in_ldm = [name for name, _ in ldm().named_modules() if re.search(r"\.to_([qkv]|out\.0)$", name)]
    given = {name: pairs[diffusers_name(f"{name}.weight").removesuffix(".weight")] for name in in_ldm}
    assert len(given) == len(pairs)
    path = write(tmp_path / "lora.safetensors", spelled(given, ".lora_down.weight", ".lora_up.weight", rename))
    assert_same(load_lora(path).for_layers(spatial(make)), pairs)


@pytest.mark.parametrize("ldm", [ldm_unet, ldm_sdxl_unet])
def test_ldm_names_of_the_projections_around_attention_are_those_of_diffusers(ldm, tmp_path):
    names = [name for name, _ in ldm().named_modules() if re.search(r"\.(proj_in|proj_out|net\.0\.proj)$", name)]
    pair = (torch.ones(1, 2), torch.ones(2, 1))
    rename = "lora_unet_{}".format
    tensors = spelled({flat(name): pair for name in names}, ".lora_down.weight", ".lora_up.weight", rename)
    expected = {flat(diffusers_name(f"{name}.weight").removesuffix(".weight")) for name in names}
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    assert set(load_lora(write(tmp_path / "x.safetensors", tensors)).matrices) == expected


@pytest.mark.skipif(not MAPS.exists(), reason="what is mapped is known the way of Linux")
@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_a_file_is_free_once_it_is_loaded(ending, tmp_path):
    path = write(tmp_path / f"a.{ending}", official(random_pairs(motion())))
    lora = load_lora(path)
    assert lora.matrices
    assert str(path) not in MAPS.read_text()


def test_motion_directors_feed_forwards_are_read(tmp_path):
    """It trains every linear layer of a temporal block; of ff.net.2 and to_out.0 only a number is left as a name."""
    layers = {name: layer for name, layer in motion_layers(toy("v2")).items() if ".transformer_blocks." in name}
    pairs = random_pairs(layers)
    tensors = motion_director(pairs)
    block = "mid_block.motion_modules.0.temporal_transformer.transformer_blocks.0"
    assert f"{block}.attention_blocks.1.to_out.processor.0_lora.up.weight" in tensors
    assert f"{block}.ff.net.0.processor.proj_lora.up.weight" in tensors
    assert f"{block}.ff.net.processor.2_lora.up.weight" in tensors
    lora = load_lora(write(tmp_path / "walk.safetensors", tensors))
    assert_same(lora.for_layers(motion_layers(toy("v2"))), pairs)


def test_motion_directors_spatial_path_is_read(tmp_path):
    block = "down_blocks.0.attentions.0.transformer_blocks.0"
    names = ["attn1.to_q", "attn2.to_out.0", "ff.net.0.proj", "ff.net.2"]
    pairs = {f"{block}.{name}": (torch.randn(2, 4), torch.randn(4, 2)) for name in names}
    projection = (torch.randn(2, 4, 1, 1), torch.randn(4, 2, 1, 1))  # a convolution of 1×1 in SD 1.5
    tensors = motion_director_spatial(pairs | {"down_blocks.0.attentions.0.proj_in": projection})
    assert "down_blocks.0.attentions.0.proj_in_lora.down.weight" in tensors
    found = load_lora(write(tmp_path / "look.safetensors", tensors)).matrices
    flattened = {"down_blocks.0.attentions.0.proj_in": (projection[0][:, :, 0, 0], projection[1][:, :, 0, 0])}
    assert_same(found, {flat(name): pair for name, pair in (pairs | flattened).items()})


@pytest.mark.parametrize("zipped", [True, False])
def test_the_official_checkpoints_wrap_their_tensors_in_a_state_dict(zipped, tmp_path):
    pairs = random_pairs(motion())
    content = {"epoch": 7, "global_step": 100, "state_dict": prefixed("module.", official(pairs))}
    torch.save(content, tmp_path / "pan.ckpt", _use_new_zipfile_serialization=zipped)
    assert_same(load_lora(tmp_path / "pan.ckpt").for_layers(motion()), pairs)


@pytest.mark.parametrize(
    "prefix", ["lora_te_", "lora_te1_", "lora_te2_", "text_encoder.", "text_encoder_2.", "base_model.model."]
)
def test_matrices_for_text_encoders_are_left_out(prefix, tmp_path):
    pairs = random_pairs(spatial())
    text = {f"{prefix}text_model.encoder.layers.0.mlp.fc1": (torch.ones(2, 5), torch.ones(5, 2))}
    rename = flat if prefix.startswith("lora_te") else str
    tensors = kohya(pairs) | spelled(text, ".lora_down.weight", ".lora_up.weight", rename)
    embedding = {"bundle_emb.cat.string_to_param.*": torch.ones(2, 8)}  # A1111's bundles
    path = write(tmp_path / "cat.safetensors", tensors | embedding)
    assert_same(load_lora(path).for_layers(spatial()), pairs)


def test_one_file_may_have_matrices_for_both_models(tmp_path):
    layers = motion() | spatial()
    pairs = random_pairs(layers)
    lora = load_lora(write(tmp_path / "both.safetensors", kohya(pairs)))
    assert lora.kind == "motion-lora"
    assert_same(lora.for_layers(layers), pairs)
    with pytest.raises(FormatError, match="not in this model or take no LoRA here"):
        lora.for_layers(motion())


# alpha


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("alpha", [torch.tensor(1.0), torch.tensor([1.0]), torch.tensor(16)])
def test_alpha_over_rank_is_in_the_product_once_and_exactly(alpha, dtype, tmp_path):
    """1/128 of a small half would be rounded away: the least of them are 6e-8 apart."""
    down, up = torch.randn(128, 8, dtype=dtype), (1e-4 * torch.randn(8, 128)).to(dtype)
    tensors = {f"unet.{QUERY}.lora.down.weight": down, f"unet.{QUERY}.lora.up.weight": up, f"unet.{QUERY}.alpha": alpha}
    (pair,) = load_lora(write(tmp_path / "x.safetensors", tensors)).matrices.values()
    expected = float(alpha) / 128 * up.double() @ down.double()
    torch.testing.assert_close(pair[1].double() @ pair[0].double(), expected, rtol=1e-6, atol=0)


def test_without_alpha_the_matrices_are_those_of_the_file_bit_by_bit(tmp_path):
    down, up = torch.randn(2, 8).half(), torch.randn(8, 2).half()
    path = write(tmp_path / "x.safetensors", spelled({QUERY: (down, up)}, ".lora_A.weight", ".lora_B.weight"))
    assert_same(load_lora(path).matrices, {flat(QUERY): (down, up)})


PEFT_SETTINGS = {
    "alpha": ({"r": 4, "lora_alpha": 8}, 8 / 4),
    "none": ({}, 1.0),
    "rank-stabilised": ({"r": 4, "lora_alpha": 8, "use_rslora": True}, 8 / 2),
    "another one for this layer": ({"lora_alpha": 8, "alpha_pattern": {"attn1.to_q": 2}}, 2 / 4),
    "another one by expression": ({"lora_alpha": 8, "alpha_pattern": {r"down_blocks\..*\.to_[qk]": 1}}, 1 / 4),
    "another one for others": ({"lora_alpha": 8, "alpha_pattern": {"to_q": 2, "attn1.to_k": 1}}, 2 / 4),
}


@pytest.mark.parametrize("example", PEFT_SETTINGS)
@pytest.mark.parametrize("writer", ["diffusers", "PEFT"])
def test_the_alpha_that_peft_keeps_outside_of_the_tensors_counts(writer, example, tmp_path):
    settings, scale = PEFT_SETTINGS[example]
    down, up = torch.randn(4, 8), torch.randn(8, 4)
    prefix = {"diffusers": "unet.", "PEFT": "base_model.model."}[writer]
    tensors = spelled({prefix + QUERY: (down, up)}, ".lora_A.weight", ".lora_B.weight")
    path = tmp_path / {"diffusers": "pytorch_lora_weights", "PEFT": "adapter_model"}[writer]
    if writer == "diffusers":
        header = {"format": "pt", "lora_adapter_metadata": json.dumps(prefixed("unet.", settings))}
        save_file(tensors, path.with_suffix(".safetensors"), metadata=header)
    else:
        save_file(tensors, path.with_suffix(".safetensors"))
        (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"} | settings))
    (pair,) = load_lora(path.with_suffix(".safetensors")).matrices.values()
    torch.testing.assert_close(pair[1] @ pair[0], scale * up @ down)
