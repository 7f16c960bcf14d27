"""What is no image model, or not a whole one, says so."""

import random
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from animatediff_ext.formats import FormatError
from animatediff_ext.standalone import SpatialModelError, load_spatial_model
from tests.models.spatial import (
    WIDTHS,
    sd15_unet,
    vae,
    write_file,
    write_tokenizer,
)
from tests.standalone.image_models import say

LORA = {"lora_unet_input_blocks_1_1_attn1_to_q.lora_down.weight": (4, 32)}
MOTION = {"down_blocks.0.motion_modules.0.temporal_transformer.norm.weight": (32,)}
UNET = {"model.diffusion_model.input_blocks.0.0.weight": (32, 4, 3, 3)}
VAE = {"encoder.down.0.block.0.conv1.weight": (32, 32, 3, 3), "decoder.conv_in.weight": (32, 4, 3, 3)}


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        (LORA, "^x.safetensors is a LoRA for images, not a checkpoint: give a Stable Diffusion 1.5 or SDXL checkpoint"),
        (MOTION, "^x.safetensors is a motion module, not a checkpoint: give"),
        (VAE, "^x.safetensors is a VAE, not a checkpoint: give it as vae=, beside a checkpoint.$"),
        (UNET, "^x.safetensors has a UNet but no text encoder inside: give a whole checkpoint.$"),
        (
            UNET | {"cond_stage_model.model.ln_final.bias": (4,)},
            "is a Stable Diffusion 2 checkpoint, which is not supp",
        ),
        (
            UNET | {"conditioner.embedders.0.model.ln_final.bias": (4,)},
            "is the refiner of SDXL, which is not supported",
        ),
        ({"model.diffusion_model.joint_blocks.0.x": (4,)}, "is an SD3 model, which is not supported: give a Stable"),
        ({"double_blocks.0.img_attn.x": (4,)}, "is a Flux model, which is not supported: give a Stable"),
        ({"cond_stage_model.transformer.x": (4,)}, "holds no UNet of Stable Diffusion: give a Stable"),
        ({"foo": (4,)}, "holds no UNet of Stable Diffusion: give a Stable"),
    ],
)
def test_a_file_that_is_no_image_model_says_what_it_is(shapes, sentence, tmp_path):
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "x.safetensors")
    with pytest.raises(SpatialModelError, match=sentence):
        load_spatial_model(tmp_path / "x.safetensors")


def test_a_path_that_is_not_there_says_so(models, tmp_path):
    with pytest.raises(SpatialModelError, match=r"^The image model .*nothing is not there: give a file or folder"):
        load_spatial_model(tmp_path / "nothing")
    with pytest.raises(SpatialModelError, match=r"^The VAE .*nothing is not there: give a file or folder"):
        load_spatial_model(models["SD 1.5"][1], vae=tmp_path / "nothing")


def test_a_file_that_is_cut_short_says_so(models, tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(models["SD 1.5"][1].read_bytes()[:200_000])
    with pytest.raises(FormatError, match=r"^cut.safetensors is cut short or damaged"):
        load_spatial_model(tmp_path / "cut.safetensors")


def test_a_prediction_that_is_unknown_says_what_there_is(models):
    with pytest.raises(SpatialModelError, match=r"^The prediction is 'x0': give one of auto, epsilon, v.$"):
        load_spatial_model(models["SD 1.5"][1], prediction="x0")


def test_a_file_without_vae_asks_for_one(tmp_path):
    file = write_file(tmp_path / "bare.safetensors", "SD 1.5", without="first_stage_model.")
    with pytest.raises(SpatialModelError, match=r"^bare.safetensors has no VAE inside: give vae= a VAE's file"):
        load_spatial_model(file)


def test_a_vae_that_is_none_says_what_it_is(models, tmp_path):
    save_file({name: torch.zeros(shape) for name, shape in LORA.items()}, tmp_path / "x.safetensors")
    with pytest.raises(SpatialModelError, match=r"^x.safetensors is a LoRA for images, not a VAE: give another vae=.$"):
        load_spatial_model(models["SD 1.5"][1], vae=tmp_path / "x.safetensors")
    vae(1.0).save_pretrained(tmp_path / "vae")
    alone = (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").rename(tmp_path / "alone.safetensors")
    with pytest.raises(SpatialModelError, match=r"^alone.safetensors is a VAE in diffusers' layout: give the folder"):
        load_spatial_model(models["SD 1.5"][1], vae=alone)


def test_an_inpainting_model_says_so(tmp_path):
    file = write_file(tmp_path / "paint.safetensors", "SD 1.5", unet=sd15_unet(in_channels=9))
    with pytest.raises(
        SpatialModelError, match=r"^paint.safetensors has a UNet that takes 9 channels, but latents have 4"
    ):
        load_spatial_model(file)


@pytest.mark.parametrize("base", WIDTHS)
@pytest.mark.parametrize("change", ["missing", "added", "reshaped"])
def test_no_tensor_may_be_missing_left_over_or_of_another_shape(base, change, models, tmp_path):
    """One tensor after the other, of a sample that has every part in it."""
    whole = load_file(models[base][1])
    write_tokenizer(tmp_path / "tokenizer")
    file = tmp_path / "x.safetensors"
    known = [name for name in whole if not name.endswith(("position_ids", "logit_scale", "alphas_cumprod"))]
    for name in random.Random(0).sample(known, 6) + [name for name in known if name.endswith("text_projection")]:
        tensors = dict(whole)
        if change == "added":
            tensors[name.rpartition(".")[0] + ".surplus.weight"] = torch.ones(2, 2)
        else:
            value = tensors.pop(name)
            if change == "reshaped":
                tensors[name] = torch.zeros([2 * size + 1 for size in value.shape])
        save_file(tensors, file)
        with pytest.raises(SpatialModelError, match=r"^x\.safetensors (lacks|has)"):
            load_spatial_model(file)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("model.diffusion_model.surplus.weight", "UNet"),
        ("first_stage_model.surplus.weight", "VAE"),
        ("conditioner.embedders.0.transformer.surplus.weight", "text encoder"),
        ("conditioner.embedders.1.model.surplus.weight", "second text encoder"),
    ],
)
def test_a_tensor_that_no_converter_knows_is_not_dropped(name, part, models, tmp_path):
    save_file(load_file(models["SDXL"][1]) | {name: torch.ones(2)}, tmp_path / "x.safetensors")
    write_tokenizer(tmp_path / "tokenizer")
    with pytest.raises(SpatialModelError, match=rf"^x.safetensors has unknown tensors of the {part} .*surplus.weight"):
        load_spatial_model(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (
            lambda f: (f / "model_index.json").unlink(),
            "^pipeline/model_index.json is not there: give the folder of a whole",
        ),
        (lambda f: (f / "model_index.json").write_text("{"), "^pipeline/model_index.json is damaged .*download"),
        (lambda f: shutil.rmtree(f / "unet"), "^pipeline/unet/config.json is not there: give the folder of a whole"),
        (lambda f: shutil.rmtree(f / "vae"), "^pipeline/vae has no config.json: download the whole folder again.$"),
        (lambda f: shutil.rmtree(f / "tokenizer"), "^The tokenizer .* is not there: give a folder with vocab.json"),
        (lambda f: (f / "text_encoder" / "model.safetensors").unlink(), "^pipeline/text_encoder cannot be loaded"),
        (lambda f: cut(f / "unet" / "diffusion_pytorch_model.safetensors"), "^pipeline/unet cannot be loaded"),
        (lambda f: cut(f / "text_encoder" / "model.safetensors"), "^pipeline/text_encoder cannot be loaded"),
        (
            lambda f: lose_one(f / "unet" / "diffusion_pytorch_model.safetensors"),
            "^unet lacks tensors of the UNet2DCon",
        ),
        (lambda f: lose_one(f / "text_encoder" / "model.safetensors"), "^text_encoder lacks tensors of the CLIPTextM"),
        (
            lambda f: add_one(f / "vae" / "diffusion_pytorch_model.safetensors"),
            "^vae has unknown tensors of the Autoen",
        ),
        (
            lambda f: (f / "transformer").mkdir(),
            "^pipeline has a transformer, not a UNet .SD3, Flux, ….: give SD 1.5 or",
        ),
        (
            lambda f: say(f / "unet", use_linear_projection=True),
            "^pipeline is neither SD 1.5 nor SDXL .SD 2..: give one",
        ),
        (
            lambda f: say(f / "scheduler", prediction_type="sample"),
            "^pipeline predicts 'sample': models that predict eps",
        ),
        (
            lambda f: say(f / "scheduler", beta_schedule="squaredcos_cap_v2"),
            "^pipeline has a noise schedule that is not supported: its kind is 'squaredcos_cap_v2', but only",
        ),
    ],
)
def test_a_damaged_folder_says_what_is_wrong(damage, sentence, models, tmp_path):
    folder = shutil.copytree(models["SD 1.5"][0], tmp_path / "pipeline")
    damage(folder)
    with pytest.raises(SpatialModelError, match=sentence):
        load_spatial_model(folder)


def cut(file):
    file.write_bytes(file.read_bytes()[:-1000])


def lose_one(file):
    tensors = load_file(file)
    tensors.popitem()
    save_file(tensors, file, metadata={"format": "pt"})


def add_one(file):
    save_file(load_file(file) | {"surplus": torch.ones(1)}, file, metadata={"format": "pt"})


def test_the_refiner_as_a_folder_says_so(models, tmp_path):
    folder = shutil.copytree(models["SDXL"][0], tmp_path / "refiner")
    shutil.rmtree(folder / "text_encoder")
    with pytest.raises(SpatialModelError, match=r"^refiner is the refiner of SDXL, which is not supported: give SDXL"):
        load_spatial_model(folder)


@pytest.mark.parametrize("part", ["unet", "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"])
def test_a_part_of_a_folder_asks_for_the_whole(part, models):
    with pytest.raises(SpatialModelError, match=rf"^{part} is one part of a diffusers pipeline: give the folder with"):
        load_spatial_model(models["SD 1.5"][0] / part)


def test_parts_of_different_models_say_so(models, tmp_path):
    folder = shutil.copytree(models["SD 1.5"][0], tmp_path / "mixed")
    sd15_unet(cross_attention_dim=48).save_pretrained(folder / "unet")
    with pytest.raises(
        SpatialModelError, match=r"^mixed has a UNet that reads text of 48 channels, but text encoders th"
    ):
        load_spatial_model(folder)
