"""LoRA files of ours, in the spellings that other tools read."""

import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from animatediff_ext.formats import load_lora, save_lora
from animatediff_ext.formats.lora_file import flat
from animatediff_ext.inject.low_rank import motion_layers, spatial_attention_layers
from tests.formats.building import assert_equal, toy, weights
from tests.formats.loras import (
    PAIR,
    QUERY,
    assert_same,
    motion,
    random_pairs,
    spatial,
)
from tests.models.unets import diffusers_sdxl_unet, diffusers_unet, ldm_sdxl_unet, ldm_unet


@pytest.mark.parametrize(
    "layers", [motion, spatial, lambda: spatial(diffusers_sdxl_unet), lambda: motion_layers(toy())]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("spelling", ["official", "webui"])
def test_what_is_saved_comes_back_exactly(spelling, dtype, layers, tmp_path):
    pairs = random_pairs(layers())
    save_lora(pairs, tmp_path / "x.safetensors", spelling=spelling, dtype=dtype, metadata={"title": "pan"})
    lora = load_lora(tmp_path / "x.safetensors")
    assert_same(lora.for_layers(layers()), {n: (down.to(dtype), up.to(dtype)) for n, (down, up) in pairs.items()})
    assert lora.metadata == {"format": "pt", "title": "pan"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_any_rank_survives_the_webuis_spelling(dtype, tmp_path):
    """bfloat16 has no 301, so an alpha in it would scale the product."""
    pairs = {QUERY: (torch.randn(301, 8), torch.randn(8, 301))}
    save_lora(pairs, tmp_path / "x.safetensors", spelling="webui", dtype=dtype)
    assert_same(load_lora(tmp_path / "x.safetensors").matrices, {flat(QUERY): tuple(m.to(dtype) for m in pairs[QUERY])})


def test_saving_takes_views_gradients_and_other_peoples_memory(tmp_path):
    both = torch.randn(8, 8, requires_grad=True)
    pairs = {QUERY: (both[:2], both.T[:, :2])}
    save_lora(pairs, tmp_path / "x.safetensors", dtype=torch.float32)
    assert_same(load_lora(tmp_path / "x.safetensors").matrices, {flat(QUERY): tuple(m.detach() for m in pairs[QUERY])})


def test_the_official_names_are_those_of_the_official_loras(tmp_path):
    save_lora(random_pairs(motion()), tmp_path / "pan.safetensors")
    attention = "{}.motion_modules.{}.temporal_transformer.transformer_blocks.0.attention_blocks.{}"
    places = [(f"down_blocks.{i}", 0) for i in range(4)] + [("mid_block", 0)]
    places += [(f"up_blocks.{i}", j) for i in range(4) for j in range(2)]
    expected = {
        f"{attention.format(*place, k)}.processor.{layer}_lora.{role}.weight"
        for place in places
        for k in range(2)
        for layer in ("to_q", "to_k", "to_v", "to_out")
        for role in ("down", "up")
    }
    tensors = load_file(tmp_path / "pan.safetensors")
    assert tensors.keys() == expected
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}


def test_the_official_names_of_an_adapter_are_those_of_v3_sd15_adapter(tmp_path):
    """As the WebUI's users quote them (guoyww/AnimateDiff#408)."""
    save_lora(random_pairs(spatial()), tmp_path / "adapter.safetensors")
    names = load_file(tmp_path / "adapter.safetensors").keys()
    pattern = (
        r"((down|up)_blocks\.\d\.|mid_block\.)attentions\.\d\.transformer_blocks\.0\.attn[12]\.processor\."
        r"to_(q|k|v|out)_lora\.(up|down)\.weight"
    )
    assert all(re.fullmatch(pattern, name) for name in names)
    assert "up_blocks.3.attentions.1.transformer_blocks.0.attn1.processor.to_out_lora.down.weight" in names
    assert len(names) == 16 * 2 * 4 * 2  # transformers, attentions, layers, matrices


@pytest.mark.parametrize("layers", [motion, lambda: motion_layers(toy())])
def test_the_rules_of_the_official_loader_and_of_animatediff_evolved_find_each_layer(layers, tmp_path):
    """Both take parts out of a key and merge up @ down into the weight of that name."""
    pairs = random_pairs(layers())
    save_lora(pairs, tmp_path / "pan.safetensors", dtype=torch.float32)
    tensors = load_file(tmp_path / "pan.safetensors")
    merged = {}
    for key in tensors:
        if "up." not in key:
            name = re.sub(r"processor\.|_lora|down\.|up\.", "", key)
            name = name.replace("to_out.", "to_out.0.")
            merged[name] = tensors[key.replace(".down.", ".up.")] @ tensors[key]
    assert merged.keys() <= weights(toy("v2")).keys()
    assert_equal(merged, {f"{name}.weight": up @ down for name, (down, up) in pairs.items()})


def webui_name(key):
    """The rules of the WebUI's extensions-builtin/Lora/networks.py for attention layers, as a table."""
    rules = {
        r"lora_unet_down_blocks_(\d+)_attentions_(\d+)_(.+)": lambda i, j: f"input_blocks_{1 + 3 * i + j}_1",
        r"lora_unet_mid_block_attentions_(\d+)()_(.+)": lambda _i, _j: "middle_block_1",
        r"lora_unet_up_blocks_(\d+)_attentions_(\d+)_(.+)": lambda i, j: f"output_blocks_{3 * i + j}_1",
    }
    for pattern, block in rules.items():
        if match := re.fullmatch(pattern, key):
            return f"diffusion_model_{block(int(match[1]), int(match[2] or 0))}_{match[3]}"
    return key


@pytest.mark.parametrize(("make", "ldm"), [(diffusers_unet, ldm_unet), (diffusers_sdxl_unet, ldm_sdxl_unet)])
def test_the_webuis_rules_find_for_each_key_the_same_layer_in_ldms_unet(make, ldm, tmp_path):
    """Both UNets have the same weights, so a layer is known by its weight."""
    unet = make()
    pairs = random_pairs(spatial_attention_layers(unet))
    save_lora(pairs, tmp_path / "x.safetensors", spelling="webui", dtype=torch.float32)
    tensors = load_file(tmp_path / "x.safetensors")
    mapping = {f"diffusion_model_{name.replace('.', '_')}": module for name, module in ldm().named_modules()}
    modules: dict = {}
    for key, tensor in tensors.items():
        layer, _, part = key.partition(".")
        modules.setdefault(webui_name(layer), {})[part] = tensor
    expected = {id(mapping[name]): parts for name, parts in modules.items()}
    assert len(expected) == len(pairs)
    of_weight = {mapping[name].weight.sum().item(): name for name in modules}
    for name, (down, up) in pairs.items():
        weight = unet.get_submodule(name).weight
        theirs = of_weight[weight.sum().item()]
        assert torch.equal(mapping[theirs].weight, weight)
        parts = modules[theirs]
        assert parts.keys() == {"lora_down.weight", "lora_up.weight", "alpha"}
        assert (up @ down).shape == mapping[theirs].weight.shape
        scale = parts["alpha"].item() / parts["lora_down.weight"].shape[0]
        torch.testing.assert_close(scale * parts["lora_up.weight"] @ parts["lora_down.weight"], up @ down)


def test_the_example_of_the_webuis_rules():
    query = webui_name("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q")
    assert query == "diffusion_model_input_blocks_1_1_transformer_blocks_0_attn1_to_q"


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    path = tmp_path / "new folder" / "x.safetensors"
    save_lora({QUERY: PAIR}, path)
    before = path.read_bytes()

    def fail(tensors, part, metadata):
        with open(part, "wb") as stream:
            stream.write(b"half a file")
        raise OSError("No space left on device")

    monkeypatch.setattr("animatediff_ext.formats.tensors.save_file", fail)
    with pytest.raises(OSError, match="No space"):
        save_lora({QUERY: PAIR}, path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_header_has_what_it_was_given(tmp_path):
    save_lora({QUERY: PAIR}, tmp_path / "x.safetensors", metadata={"ss_network_dim": "2"})
    with safe_open(tmp_path / "x.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt", "ss_network_dim": "2"}
