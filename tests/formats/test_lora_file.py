"""LoRA files in the spellings that people have, and ours in the ones that other tools read.

What other tools do with names is written down here once more, from their sources, in the other direction than the code
under test reads them.
"""

import json
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from animatediff_ext.formats import FormatError, load_lora, save_lora
from animatediff_ext.formats.lora_file import flat
from animatediff_ext.inject.low_rank import motion_attention_layers, motion_layers, spatial_attention_layers
from tests.formats.building import assert_equal, prefixed, toy, weights, write
from tests.models.ldm_unet import diffusers_name
from tests.models.unets import diffusers_sdxl_unet, diffusers_unet, ldm_sdxl_unet, ldm_unet

RANK = 3
MAPS = Path("/proc/self/maps")


@cache
def motion(family="v2"):
    return motion_attention_layers(toy(family))


@cache
def spatial(make=diffusers_unet):
    return spatial_attention_layers(make())


def random_pairs(layers, seed=0, rank=RANK):
    """What any file here holds: down and up of each layer."""
    random = torch.Generator().manual_seed(seed)
    return {
        name: (
            torch.randn(rank, layer.num_in, generator=random),
            torch.randn(layer.num_out, rank, generator=random),
        )
        for name, layer in layers.items()
    }


def spelled(pairs, down, up, rename=lambda name: name):
    """``down`` and ``up`` are what comes behind the layer's name."""
    tensors = {}
    for name, pair in pairs.items():
        tensors |= {rename(name) + down: pair[0], rename(name) + up: pair[1]}
    return tensors


# ---- how other programs write ----


def official(pairs):
    """to_q → processor.to_q_lora, to_out.0 → processor.to_out_lora."""

    def rename(name):
        return re.sub(r"\.(to_[qkv]|to_out)(\.0)?$", r".processor.\1_lora", name)

    return spelled(pairs, ".down.weight", ".up.weight", rename)


def diffusers_layer(name):
    """The names of UNetMotionModel's layers; those of the image model are as they are."""
    if "motion_modules" not in name:
        return name
    name = name.replace(".temporal_transformer", "")
    return re.sub(r"attention_blocks\.(\d)", lambda match: f"attn{int(match[1]) + 1}", name)


def diffusers(down, up, prefix="unet."):
    return lambda pairs: spelled(pairs, down, up, lambda name: prefix + diffusers_layer(name))


def kohya(pairs, layer=lambda name: name, prefix="lora_unet_"):
    """alpha is half the rank, and ``up`` twice as large for it: the product is the same."""
    tensors = {}
    for name, (down, up) in pairs.items():
        key = prefix + layer(name).replace(".", "_")
        tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": 2 * up}
        tensors |= {f"{key}.alpha": torch.tensor(len(down) / 2)}
    return tensors


def motion_director(pairs):
    """ExponentialML/AnimateDiff-MotionDirector, utils/lora.py: the last part of a name goes into the processor."""

    def rename(name):
        parent, _, last = name.rpartition(".")
        return f"{parent}.processor.{last}_lora"

    return spelled(pairs, ".down.weight", ".up.weight", rename)


def motion_director_spatial(pairs):
    """The same file, for the spatial path: attention as official, every other layer without a processor."""
    attention = {name: pair for name, pair in pairs.items() if ".to_" in name}
    others = {name: pair for name, pair in pairs.items() if name not in attention}
    return official(attention) | spelled(others, "_lora.down.weight", "_lora.up.weight")


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


def assert_same(found, pairs):
    assert found.keys() == pairs.keys()
    for name, pair in pairs.items():
        for matrix, expected in zip(found[name], pair, strict=True):
            torch.testing.assert_close(matrix, expected, rtol=0, atol=0)


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


# ---- alpha ----

QUERY = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


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


# ---- which layers ----


@pytest.mark.parametrize("family", ["v1", "v3"])
def test_a_motion_lora_of_v2_fits_modules_without_a_middle_block(family, tmp_path):
    pairs = random_pairs(motion("v2"))
    found = load_lora(write(tmp_path / "pan.safetensors", official(pairs))).for_layers(motion(family))
    assert_same(found, {name: pair for name, pair in pairs.items() if not name.startswith("mid_block")})
    assert found.keys() == motion(family).keys()


def test_a_motion_lora_without_a_middle_block_fits_v2(tmp_path):
    pairs = random_pairs(motion("v3"))
    assert_same(load_lora(write(tmp_path / "pan.safetensors", official(pairs))).for_layers(motion("v2")), pairs)


def test_a_motion_lora_of_the_middle_block_alone_has_nothing_for_v3(tmp_path):
    pairs = {name: pair for name, pair in random_pairs(motion("v2")).items() if name.startswith("mid_block")}
    lora = load_lora(write(tmp_path / "pan.safetensors", official(pairs)))
    with pytest.raises(FormatError, match="none of which is here"):
        lora.for_layers(motion("v3"))


def test_the_middle_block_of_the_image_model_is_not_left_out(tmp_path):
    pairs = random_pairs(spatial())
    layers = {name: layer for name, layer in spatial().items() if not name.startswith("mid_block")}
    lora = load_lora(write(tmp_path / "adapter.safetensors", official(pairs)))
    with pytest.raises(FormatError, match="mid_block_attentions_0"):
        lora.for_layers(layers)


def test_a_lora_may_leave_layers_out(tmp_path):
    pairs = dict(list(random_pairs(motion()).items())[3:5])
    assert_same(load_lora(write(tmp_path / "x.safetensors", kohya(pairs))).for_layers(motion()), pairs)


CONVOLUTIONS = {
    "ResBlock": "lora_unet_down_blocks_0_resnets_0_conv1",
    "ResBlock, LDM": "lora_unet_input_blocks_1_0_in_layers_2",
    "downsampling": "lora_unet_down_blocks_0_downsamplers_0_conv",
    "upsampling, LDM": "lora_unet_output_blocks_2_1_conv",
    "first": "lora_unet_conv_in",
    "time embedding": "unet.time_embedding.linear_1",
    "without a prefix": "base_model.model.conv_in",
}


@pytest.mark.parametrize("example", CONVOLUTIONS)
def test_layers_that_take_no_lora_here_are_named(example, tmp_path):
    name = CONVOLUTIONS[example]
    tensors = {f"{name}.lora_down.weight": torch.ones(2, 5, 3, 3), f"{name}.lora_up.weight": torch.ones(7, 2, 1, 1)}
    lora = load_lora(write(tmp_path / "locon.safetensors", kohya(random_pairs(spatial())) | tensors))
    with pytest.raises(FormatError) as refusal:
        lora.for_layers(spatial())
    layer = flat(name.removeprefix("lora_unet_").removeprefix("unet."))
    count = len(spatial()) + 1
    assert str(refusal.value) == (
        "locon.safetensors has matrices for layers that are not in this model or take no LoRA here, "
        f"{layer} among them (1 of {count}): choose a LoRA and a model that belong together."
    )


WRONG_MODELS = {
    "motion LoRA on the image model": (lambda: official(random_pairs(motion())), spatial, "is a motion LoRA, for"),
    "image LoRA on motion": (lambda: kohya(random_pairs(spatial())), motion, "is a LoRA for images, for layers"),
    "domain adapter on motion": (lambda: official(random_pairs(spatial())), motion, "is the domain adapter of"),
    "SD 1.5 motion on SDXL": (
        lambda: official(random_pairs(motion("v3"))),
        lambda: motion("sdxl-beta"),
        "not in this model or take no LoRA here, down_blocks_3_motion_modules_0",
    ),
    "SDXL motion on SD 1.5, where only sizes tell": (
        lambda: official(random_pairs(motion("sdxl-beta"))),
        lambda: motion("v3"),
        "it turns 32 channels into 32, this model 64 into 64",
    ),
    "another text encoder, where only sizes tell": (
        lambda: kohya(random_pairs({name: Sizes(layer, text=48) for name, layer in spatial().items()})),
        spatial,
        "attn2.to_k it turns 48 channels into 64, this model 32 into 64",
    ),
    "other widths behind": (
        lambda: kohya({name: (down, torch.ones(16, RANK)) for name, (down, _) in random_pairs(spatial()).items()}),
        spatial,
        "it turns 32 channels into 16, this model 32 into 32",
    ),
    "Flux": (
        lambda: spelled(
            {"transformer.single_transformer_blocks.0.attn.to_q": PAIR}, ".lora_A.weight", ".lora_B.weight"
        ),
        spatial,
        "layers such as transformer_single_transformer_blocks_0_attn_to_q, none of which is here",
    ),
    "Flux, kohya": (
        lambda: kohya({"double_blocks_0_img_attn_qkv": PAIR}),
        spatial,
        "layers such as double_blocks_0_img_attn_qkv, none",
    ),
}
PAIR = (torch.ones(2, 8), torch.ones(8, 2))


class Sizes:
    """A layer of SD 2, whose text encoder is wider."""

    def __init__(self, layer, text):
        self.num_in = text if layer.num_in == 32 != layer.num_out else layer.num_in
        self.num_out = layer.num_out


@pytest.mark.parametrize("example", WRONG_MODELS)
def test_a_lora_for_another_model_is_refused_with_a_sentence(example, tmp_path):
    tensors, layers, words = WRONG_MODELS[example]
    lora = load_lora(write(tmp_path / "given.safetensors", tensors()))
    with pytest.raises(FormatError) as refusal:
        lora.for_layers(layers())
    assert words in str(refusal.value)
    assert_is_one_sentence(refusal.value)


def test_layers_that_a_flat_name_cannot_tell_apart_are_our_mistake(tmp_path):
    lora = load_lora(write(tmp_path / "x.safetensors", official(random_pairs(motion()))))
    layer = next(iter(motion().values()))
    with pytest.raises(AssertionError, match="same flat name"):
        lora.for_layers(motion() | {"a.b_c": layer, "a_b.c": layer})


# ---- files that cannot be read ----


def assert_is_one_sentence(error):
    text = str(error)
    assert text.startswith("given.")
    assert text.endswith(".")
    assert "\n" not in text


def of_query(**tensors):
    return {f"lora_unet_{flat(QUERY)}.{name.replace('__', '.')}": tensor for name, tensor in tensors.items()}


DOWN, UP = torch.ones(4, 8), torch.ones(8, 4)
KEY = flat(QUERY)
DAMAGED = {
    "no up": (of_query(lora_down__weight=DOWN), f"has no up matrix for {KEY}, only down: download it again"),
    "no down": (of_query(lora_up__weight=UP, alpha=torch.tensor(1.0)), "has no down matrix"),
    "alpha alone": (
        of_query(lora_down__weight=DOWN, lora_up__weight=UP) | {"lora_unet_mid_block_1_to_q.alpha": torch.tensor(1.0)},
        "has no down matrix for mid_block_1_to_q, only alpha",
    ),
    "ranks that differ": (
        of_query(lora_down__weight=DOWN, lora_up__weight=torch.ones(8, 5)),
        f"has matrices of 4×8 and 8×5 for {KEY}, which do not fit each other: download it again",
    ),
    "a vector": (of_query(lora_down__weight=torch.ones(8), lora_up__weight=UP), "matrices of 8 and 8×4"),
    "a vector for up": (of_query(lora_down__weight=DOWN, lora_up__weight=torch.ones(4)), "matrices of 4×8 and 4"),
    "a number": (of_query(lora_down__weight=torch.ones(()), lora_up__weight=UP), "matrices of one number and 8×4"),
    "rank zero": (of_query(lora_down__weight=torch.ones(0, 8), lora_up__weight=torch.ones(8, 0)), "of 0×8 and 8×0"),
    "many alphas": (
        of_query(lora_down__weight=DOWN, lora_up__weight=UP, alpha=torch.ones(4)),
        "has an alpha of 4 for",
    ),
    "two spellings": (
        of_query(lora_down__weight=DOWN, lora_up__weight=UP)
        | {f"{QUERY}.lora_A.weight": DOWN + 1, f"{QUERY}.lora_B.weight": UP + 1},
        "has two LoRAs in it: ",
    ),
    "two adapters of PEFT": (
        {f"{QUERY}.lora_{m}.{adapter}.weight": t.clone() for m, t in (("A", DOWN), ("B", UP)) for adapter in "xy"},
        "has two LoRAs in it: ",
    ),
    "LoHa": (of_query(hada_w1_a=UP, hada_w1_b=DOWN), "hada_w1_a in it, which is not one of a LoRA's two matrices"),
    "LoKr": (of_query(lokr_w1=UP, lokr_w2=DOWN), "lokr_w1 in it"),
    "LoCon in three": (
        of_query(lora_down__weight=DOWN, lora_up__weight=UP, lora_mid__weight=torch.ones(4, 4, 3, 3)),
        "lora_mid.weight in it",
    ),
    "DoRA": (of_query(lora_down__weight=DOWN, lora_up__weight=UP, dora_scale=torch.ones(8, 1)), "DoRA"),
    "DoRA of PEFT": (
        {f"unet.{QUERY}.lora_A.weight": DOWN, f"unet.{QUERY}.lora_magnitude_vector": torch.ones(8)},
        "lora_magnitude_vector in it",
    ),
    "a difference of the whole weight": (
        of_query(lora_down__weight=DOWN, lora_up__weight=UP) | {"diffusion_model.input_blocks.0.0.diff": DOWN},
        "diffusion_model.input_blocks.0.0.diff in it",
    ),
    "an unknown spelling": (
        of_query(lora_down__weight=DOWN, lora_up__weight=UP) | {f"unet.{QUERY}.low.rank.one": DOWN},
        "low.rank.one in it, which is not one of a LoRA's two matrices",
    ),
    "text encoder only": (
        {
            "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": DOWN,
            "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": UP,
        },
        "has no matrices for the image model or its motion module, only such as lora_te_text_model",
    ),
    "motion module": (lambda: weights(toy("v2")), "given.safetensors is a motion module, not a LoRA."),
    "checkpoint": (
        {"model.diffusion_model.input_blocks.0.0.weight": DOWN},
        "is a whole Stable Diffusion checkpoint, not a LoRA. It belongs in models/Stable-diffusion",
    ),
}


@pytest.mark.parametrize("example", DAMAGED)
def test_a_file_that_is_no_whole_lora_says_why(example, tmp_path):
    tensors, words = DAMAGED[example]
    tensors = tensors() if callable(tensors) else tensors
    path = write(tmp_path / "given.safetensors", {name: tensor.clone() for name, tensor in tensors.items()})
    with pytest.raises(FormatError) as refusal:
        load_lora(path)
    assert words in str(refusal.value)
    assert refusal.value.path == path
    assert_is_one_sentence(refusal.value)


def test_a_file_of_no_known_kind_gets_no_advice_about_motion_modules(tmp_path):
    path = write(tmp_path / "given.safetensors", {"layers.0.weight": DOWN})
    with pytest.raises(FormatError, match=r"^given\.safetensors is of a kind that is not known here, not a LoRA\.$"):
        load_lora(path)


@pytest.mark.parametrize("text", ["{", "[]", "null", '"words"'])
def test_settings_of_peft_that_cannot_be_read_are_an_error(text, tmp_path):
    tensors = spelled({QUERY: (DOWN, UP)}, ".lora_A.weight", ".lora_B.weight")
    path = write(tmp_path / "given.safetensors", tensors, metadata={"lora_adapter_metadata": text})
    with pytest.raises(FormatError, match="settings of PEFT") as refusal:
        load_lora(path)
    assert_is_one_sentence(refusal.value)


def test_files_cut_short_or_missing_are_told_as_for_motion_modules(tmp_path):
    path = write(tmp_path / "given.safetensors", official(random_pairs(motion())))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError, match="cut short or damaged"):
        load_lora(path)
    with pytest.raises(FormatError, match="is not there"):
        load_lora(tmp_path / "given.ckpt")


# ---- writing ----


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
