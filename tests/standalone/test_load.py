"""Loading image models: every way gives the same model, and what cannot be used says so."""

import shutil

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from safetensors.torch import load_file, save_file

from animatediff_ext.motion import IMAGE_SCHEDULE, NoiseSchedule
from animatediff_ext.standalone import load_spatial_model
from animatediff_ext.standalone.ldm_layout import Part, unet_config
from tests.models.spatial import (
    WIDTHS,
    ldm_unet_tensors,
    ldm_vae_tensors,
    vae,
    write_file,
    write_tokenizer,
)
from tests.standalone.image_models import assert_same_model, outputs, say


@pytest.mark.parametrize("base", WIDTHS)
def test_folder_and_file_give_the_same_model(base, models, loaded):
    folder = load_spatial_model(models[base][0])
    assert_same_model(folder, loaded[base])
    facts = ("base", "prediction", "latent_scale", "vae_factor", "text_fingerprint", "vae_fingerprint")
    assert [getattr(folder, name) for name in facts] == [getattr(loaded[base], name) for name in facts]
    assert folder.base == base
    assert (folder.title, loaded[base].title) == (f"{base} folder", f"{base} file")


@pytest.mark.parametrize("base", WIDTHS)
def test_sizes_and_scales_are_those_of_the_tensors(base, loaded):
    model = loaded[base]
    assert tuple(model.unet.config.block_out_channels) == WIDTHS[base]
    assert model.latent_scale == {"SD 1.5": 0.18215, "SDXL": 0.13025}[base]
    assert model.vae_factor == 8


def test_a_ckpt_gives_the_same_model(models, loaded, tmp_path):
    path = tmp_path / "tiny.ckpt"
    torch.save({"state_dict": load_file(models["SD 1.5"][1]), "global_step": 5}, path)
    assert_same_model(load_spatial_model(path, tokenizer=models["SD 1.5"][1].parent / "tokenizer"), loaded["SD 1.5"])


def test_an_old_merge_whose_text_encoder_has_one_level_less_gives_the_same_model(models, loaded, tmp_path):
    tensors = load_file(models["SD 1.5"][1])
    save_file({name.replace(".text_model.", "."): t for name, t in tensors.items()}, tmp_path / "old.safetensors")
    write_tokenizer(tmp_path / "tokenizer")
    assert_same_model(load_spatial_model(tmp_path / "old.safetensors"), loaded["SD 1.5"])


def test_a_folder_with_fp16_names_only_loads(models, loaded, tmp_path):
    folder = shutil.copytree(models["SDXL"][0], tmp_path / "half")
    for file in folder.rglob("*.safetensors"):
        file.rename(file.with_suffix(".fp16.safetensors"))
    assert_same_model(load_spatial_model(folder), loaded["SDXL"])


def test_a_relative_path_loads(models, monkeypatch):
    folder, file = models["SD 1.5"]
    monkeypatch.chdir(folder)
    assert load_spatial_model(".").title == folder.name
    monkeypatch.chdir(file.parent)
    assert load_spatial_model(file.name).title == file.stem


@pytest.mark.parametrize("base", WIDTHS)
def test_loading_needs_no_network_and_no_random_numbers(base, models, connections):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for path in models[base]:
        load_spatial_model(path)
    assert connections == []
    assert torch.equal(torch.get_rng_state(), before)


def test_every_weight_is_frozen_and_every_part_evaluates(spatial):
    for part in (spatial.unet, spatial.vae, *spatial.text_encoders):
        assert not part.training
        assert not any(parameter.requires_grad for parameter in part.parameters())
        assert not any(tensor.is_meta for tensor in (*part.parameters(), *part.buffers()))


def test_half_precision_leaves_the_vae_in_float32(models):
    model = load_spatial_model(models["SDXL"][1], dtype=torch.bfloat16)
    assert {part.dtype for part in (model.unet, *model.text_encoders)} == {torch.bfloat16}
    assert model.vae.dtype == torch.float32
    assert all(value.isfinite().all() for value in outputs(model))


# the sizes of the models that people have

SD15 = {"block_out_channels": (320, 640, 1280, 1280), "cross_attention_dim": 768, "attention_head_dim": 8}
SDXL = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "use_linear_projection": True,
    "cross_attention_dim": 2048,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}


@pytest.mark.parametrize(
    ("sizes", "heads", "pooled_width"),
    [(SD15, lambda channels: 8, None), (SDXL, lambda channels: channels // 64, 1280)],
    ids=WIDTHS,
)
def test_a_real_unets_configuration_follows_from_its_tensors(sizes, heads, pooled_width, tmp_path):
    with torch.device("meta"):
        unet = UNet2DConditionModel(**sizes)
        tensors = ldm_unet_tensors(unet)
        inferred = UNet2DConditionModel(**unet_config(Part(tmp_path, tensors, ""), heads, pooled_width))
    assert {name: t.shape for name, t in inferred.state_dict().items()} == {
        name: t.shape for name, t in unet.state_dict().items()
    }
    heads_of = [
        [module.heads for module in model.modules() if isinstance(module, Attention)] for model in (unet, inferred)
    ]
    assert heads_of[0] == heads_of[1]
    assert inferred.config.addition_time_embed_dim == unet.config.addition_time_embed_dim


# what the UNet predicts


def test_a_key_in_a_file_says_v_and_the_argument_overrules_it(models, tmp_path):
    file = tmp_path / "tiny.safetensors"
    save_file(load_file(models["SD 1.5"][1]) | {"v_pred": torch.zeros(1)}, file)
    write_tokenizer(tmp_path / "tokenizer")
    assert load_spatial_model(file).prediction == "v"
    assert load_spatial_model(file, prediction="epsilon").prediction == "epsilon"


@pytest.mark.parametrize(("said", "prediction"), [("epsilon", "epsilon"), ("v_prediction", "v")])
def test_a_folders_scheduler_says_the_prediction(said, prediction, models, tmp_path):
    folder = shutil.copytree(models["SD 1.5"][0], tmp_path / "pipeline")
    say(folder / "scheduler", prediction_type=said)
    assert load_spatial_model(folder).prediction == prediction


def test_a_folders_scheduler_says_the_betas(models, tmp_path):
    folder = shutil.copytree(models["SD 1.5"][0], tmp_path / "pipeline")
    assert load_spatial_model(folder).schedule == IMAGE_SCHEDULE
    say(folder / "scheduler", beta_schedule="linear", beta_start=0.001, beta_end=0.03)
    assert load_spatial_model(folder).schedule == NoiseSchedule(kind="linear", beta_start=0.001, beta_end=0.03)


# another VAE


@pytest.fixture
def other_vae():
    model = vae(0.25)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.9)
    return model


def test_another_vae_may_be_a_file_a_folder_its_weights_or_a_checkpoint(models, other_vae, tmp_path):
    other_vae.save_pretrained(tmp_path / "vae")
    ldm = {name: tensor.contiguous() for name, tensor in ldm_vae_tensors(other_vae).items()}
    torch.save({"state_dict": ldm | {"loss.logvar": torch.zeros(())}}, tmp_path / "vae.pt")
    checkpoint = write_file(tmp_path / "whole.safetensors", "SD 1.5", vae=other_vae)
    given = [
        tmp_path / "vae",
        tmp_path / "vae" / "diffusion_pytorch_model.safetensors",
        tmp_path / "vae.pt",
        checkpoint,
    ]
    models_with = [load_spatial_model(models["SD 1.5"][1], vae=path) for path in given]
    models_with.append(load_spatial_model(models["SD 1.5"][0], vae=tmp_path / "vae.pt"))
    assert len({model.vae.decoder.conv_in.weight.sum().item() for model in models_with}) == 1
    torch.testing.assert_close(models_with[2].vae.state_dict(), other_vae.state_dict())
    # diffusers' folder says its own scale, LDM's files have none
    assert [model.latent_scale for model in models_with] == [0.25, 0.25, 0.18215, 0.18215, 0.18215]
    assert models_with[2].vae_fingerprint != load_spatial_model(models["SD 1.5"][1]).vae_fingerprint


def test_a_checkpoint_without_vae_loads_with_one(models, loaded, tmp_path):
    file = write_file(tmp_path / "bare.safetensors", "SD 1.5", without="first_stage_model.")
    assert_same_model(load_spatial_model(file, vae=models["SD 1.5"][1]), loaded["SD 1.5"])
