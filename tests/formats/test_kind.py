"""Files of other kinds say what they are and where they belong."""

import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel

from animatediff_ext.formats import FormatError, describe, load_motion_module
from animatediff_ext.formats.kind import KINDS, kind_of
from tests.formats.building import prefixed, toy, weights, write, zeros

SITE = "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0"
IMAGE_ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
SMALL = {"block_out_channels": (32, 64), "cross_attention_dim": 32, "attention_head_dim": 8, "layers_per_block": 1}
DOWN = {"down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D")}
UP = {"up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}


def lora(name, down=".lora_down.weight", up=".lora_up.weight"):
    return zeros({name + down: (4, 32), name + up: (32, 4)})


def names_of(make):
    """The tensors of a small diffusers model, as diffusers names them."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in make().state_dict().items()}
    return zeros(shapes)


def motion():
    return weights(toy("v3"))


def controlnet():
    return names_of(lambda: ControlNetModel(**SMALL, **DOWN))


SD = zeros(
    {"model.diffusion_model.input_blocks.0.0.weight": (32, 4, 3, 3), "first_stage_model.encoder.conv_in.weight": (8,)}
)

# what it is → (kind, words of the message, tensors)
OTHER_KINDS = {
    "motion LoRA, official": (
        "motion-lora",
        "motion LoRA models/Lora <lora:",
        lambda: lora(f"{SITE}.processor.to_q", "_lora.down.weight", "_lora.up.weight"),
    ),
    "motion LoRA, diffusers": (
        "motion-lora",
        "motion LoRA models/Lora",
        lambda: lora(
            "unet.down_blocks.0.motion_modules.0.transformer_blocks.0.attn1.to_q", ".lora_A.weight", ".lora_B.weight"
        ),
    ),
    "motion LoRA, older diffusers": (
        "motion-lora",
        "motion LoRA models/Lora",
        lambda: lora(
            "unet.down_blocks.0.motion_modules.0.transformer_blocks.0.attn1.processor.to_q",
            "_lora.down.weight",
            "_lora.up.weight",
        ),
    ),
    "motion LoRA, kohya": (
        "motion-lora",
        "motion LoRA models/Lora",
        lambda: lora("lora_unet_" + SITE.replace(".", "_") + "_to_q"),
    ),
    "motion LoRA, A1111 (conrevo)": ("motion-lora", "motion LoRA models/Lora", lambda: lora(f"{SITE}.to_q")),
    "v3 domain adapter": (
        "domain-adapter",
        "domain adapter v3 models/Lora",
        lambda: lora(f"{IMAGE_ATTENTION}.processor.to_q", "_lora.down.weight", "_lora.up.weight"),
    ),
    "LoRA, kohya": (
        "lora",
        "LoRA for images models/Lora",
        lambda: lora("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"),
    ),
    "LoRA, diffusers": (
        "lora",
        "LoRA models/Lora",
        lambda: lora(f"unet.{IMAGE_ATTENTION}.to_q", ".lora.down.weight", ".lora.up.weight"),
    ),
    "LoCon": ("lora", "LoRA", lambda: zeros({"lora_unet_mid_block_resnets_0_conv1.hada_w1_a": (4, 32)})),
    "SparseCtrl, scribble": (
        "sparsectrl",
        "SparseCtrl models/ControlNet ControlNet unit",
        lambda: motion() | zeros({"controlnet_cond_embedding.conv_in.weight": (16, 4, 3, 3)}),
    ),
    "SparseCtrl, rgb, wrapped": (
        "sparsectrl",
        "SparseCtrl models/ControlNet",
        lambda: prefixed("controlnet.", motion() | zeros({"controlnet_cond_embedding.weight": (32, 5, 3, 3)})),
    ),
    "CameraCtrl": (
        "cameractrl",
        "CameraCtrl not supported",
        lambda: zeros({f"attention_processor_state_dict.{SITE}.processor.qkv_merge.weight": (32, 32)}),
    ),
    "MotionCtrl": (
        "motionctrl",
        "MotionCtrl not supported",
        lambda: motion() | zeros({SITE.rpartition(".attention")[0] + ".cc_projection.weight": (32, 44)}),
    ),
    "AnimateLCM-I2V": (
        "animatelcm-i2v",
        "image-to-video AnimateLCM not supported",
        lambda: motion() | zeros({"img_encoder.conv_in.weight": (32, 4, 1, 1)}),
    ),
    "AnimateLCM-I2V, encoder alone": (
        "animatelcm-i2v",
        "image encoder not supported",
        lambda: zeros({"img_encoder.body.0.block1.weight": (32, 32, 3, 3)}),
    ),
    "PIA": ("pia", "PIA 9 not supported", lambda: motion() | zeros({"conv_in.weight": (32, 9, 3, 3)})),
    "FancyVideo": (
        "fancyvideo",
        "FancyVideo not supported",
        lambda: motion() | zeros({"fps_embedding.linear.weight": (128, 32)}),
    ),
    "ControlNet, diffusers": ("controlnet", "ControlNet models/ControlNet unit", controlnet),
    "ControlNet, LDM": (
        "controlnet",
        "ControlNet models/ControlNet",
        lambda: zeros(
            {"control_model.input_hint_block.0.weight": (16, 3, 3, 3), "control_model.zero_convs.0.0.bias": (32,)}
        ),
    ),
    "T2I-Adapter": ("controlnet", "T2I-Adapter", lambda: zeros({"body.0.block1.weight": (32, 32, 3, 3)})),
    "IP-Adapter": (
        "ip-adapter",
        "IP-Adapter models/ControlNet",
        lambda: zeros({"image_proj.proj.weight": (8, 8), "ip_adapter.1.to_k_ip.weight": (8, 8)}),
    ),
    "SD 1.5 checkpoint": (
        "checkpoint",
        "whole Stable Diffusion checkpoint models/Stable-diffusion",
        lambda: SD | zeros({"cond_stage_model.transformer.text_model.final_layer_norm.weight": (768,)}),
    ),
    "SD 1.5 checkpoint in state_dict": (
        "checkpoint",
        "models/Stable-diffusion",
        lambda: prefixed("state_dict.", SD),
    ),
    "SDXL checkpoint": (
        "sdxl-checkpoint",
        "whole SDXL checkpoint models/Stable-diffusion",
        lambda: SD | zeros({"conditioner.embedders.0.transformer.text_model.final_layer_norm.weight": (768,)}),
    ),
    "UNet, diffusers": (
        "image-unet",
        "UNet diffusers",
        lambda: names_of(lambda: UNet2DConditionModel(**SMALL, **DOWN, **UP)),
    ),
    "VAE, diffusers": ("vae", "VAE models/VAE", lambda: names_of(lambda: AutoencoderKL(block_out_channels=(32,)))),
    "VAE, LDM": (
        "vae",
        "models/VAE",
        lambda: zeros({"encoder.conv_in.weight": (32, 3, 3, 3), "encoder.down.0.block.0.conv1.weight": (32, 32, 3, 3)}),
    ),
    "VAE, LDM, wrapped": (
        "vae",
        "models/VAE",
        lambda: zeros(
            {
                "first_stage_model.decoder.conv_in.weight": (9,),
                "first_stage_model.decoder.up.0.block.0.conv1.bias": (9,),
            }
        ),
    ),
    "embedding, A1111": ("embedding", "embedding embeddings prompt", lambda: zeros({"string_to_param.*": (2, 768)})),
    "embedding, SDXL": ("embedding", "embeddings", lambda: zeros({"clip_l": (2, 768), "clip_g": (2, 1280)})),
    "embedding, SD 2": ("embedding", "embeddings", lambda: zeros({"emb_params": (2, 1024)})),
    "embedding, diffusers": ("embedding", "embeddings", lambda: zeros({"<cat-toy>": (768,)})),
    "something else": ("unknown", "not known here mm_sd_v15_v2", lambda: zeros({"layers.0.weight": (3, 3)})),
}


@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
@pytest.mark.parametrize("example", OTHER_KINDS)
def test_another_kind_says_what_it_is_and_where_it_belongs(example, ending, tmp_path):
    kind, words, make = OTHER_KINDS[example]
    tensors = {name: tensor.contiguous() for name, tensor in make().items()}
    path = write(tmp_path / f"given.{ending}", tensors)
    with pytest.raises(FormatError) as refusal:
        load_motion_module(path)
    text = str(refusal.value)
    assert text.startswith(f"given.{ending} is ")
    assert "not a motion module" in text
    for word in words.split():
        assert word.lower() in text.lower()
    info = describe(path)
    assert (info.kind, info.config, info.family) == (kind, None, None)
    assert f"{info.title}, not a motion module. {info.fits}" in text


def test_every_kind_has_an_example():
    assert {kind.name for kind in KINDS} == {kind for kind, _, _ in OTHER_KINDS.values()} | {"motion-module"}


def test_every_kind_says_what_to_do_in_whole_sentences():
    for kind in KINDS:
        if kind.name != "motion-module":
            assert kind.belongs.endswith(".")
            assert not kind.what.endswith(".")


def test_a_motion_lora_next_to_image_lora_is_a_motion_lora():
    assert kind_of(lora(f"{SITE}.to_q") | lora(f"unet.{IMAGE_ATTENTION}.to_q")).name == "motion-lora"


def test_an_embedding_as_pytorch_file_with_its_bookkeeping(tmp_path):
    content = {"string_to_token": {"*": 265}, "string_to_param": {"*": torch.zeros(2, 768)}, "name": "cat", "step": 100}
    assert describe(write(tmp_path / "cat.pt", content)).kind == "embedding"


def test_a_cameractrl_checkpoint_as_its_trainer_writes_it(tmp_path):
    pose = zeros(
        {"encoder_conv_in.weight": (32, 384, 3, 3), "encoder_down_conv_blocks.0.0.block1.weight": (32, 32, 3, 3)}
    )
    content = {
        "epoch": 1,
        "pose_encoder_state_dict": pose,
        "attention_processor_state_dict": zeros({f"{SITE}.processor.qkv_merge.weight": (32, 32)}),
    }
    assert describe(write(tmp_path / "CameraCtrl.ckpt", content)).kind == "cameractrl"
