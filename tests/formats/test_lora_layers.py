"""Which layers of a model a LoRA is for, and what is said of one that is for another model."""

import pytest
import torch

from animatediff_ext.formats import FormatError, load_lora
from animatediff_ext.formats.lora_file import flat
from tests.formats.building import write
from tests.formats.loras import (
    PAIR,
    RANK,
    assert_is_one_sentence,
    assert_same,
    kohya,
    motion,
    official,
    random_pairs,
    spatial,
    spelled,
)


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
