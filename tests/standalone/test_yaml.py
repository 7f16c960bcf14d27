"""The .yaml beside a checkpoint says what its tensors cannot."""

import json
import shutil

import pytest

from animatediff_ext.motion import NoiseSchedule
from animatediff_ext.standalone import SpatialModelError, load_spatial_model
from tests.models.spatial import (
    sd15_unet,
    text_encoder,
    vae,
    write_file,
    write_folder,
    write_tokenizer,
)
from tests.standalone.image_models import assert_same_model


def beside(file, **params):
    file.with_suffix(".yaml").write_text(json.dumps({"model": {"params": params}}))  # JSON is YAML


def test_the_yaml_beside_a_file_says_what_tensors_cannot(tmp_path):
    parts = {"unet": sd15_unet(attention_head_dim=4), "text_encoder": text_encoder(num_heads=2)}
    file = write_file(tmp_path / "tiny.safetensors", "SD 1.5", **parts)
    beside(
        file,
        parameterization="v",
        scale_factor=0.5,
        linear_start=0.001,
        linear_end=0.03,
        unet_config={"params": {"num_heads": 4}},
        cond_stage_config={"params": {"num_heads": 2}},
    )
    model = load_spatial_model(file)
    assert (model.prediction, model.latent_scale) == ("v", 0.5)
    assert model.schedule == NoiseSchedule(kind="scaled_linear", beta_start=0.001, beta_end=0.03)
    folder = load_spatial_model(write_folder(tmp_path / "folder", "SD 1.5", **parts, vae=vae(0.5)))
    assert_same_model(model, folder)


def test_the_yaml_gives_the_width_of_heads_and_the_folder_of_the_text_encoder(tmp_path):
    file = write_file(tmp_path / "tiny.safetensors", "SD 1.5")
    shutil.rmtree(tmp_path / "tokenizer")
    write_tokenizer(tmp_path / "clip")
    text_encoder(num_heads=4).config.save_pretrained(tmp_path / "clip")
    beside(
        file,
        unet_config={"params": {"num_heads": -1, "num_head_channels": 16}},
        cond_stage_config={"params": {"version": "clip"}},
    )
    model = load_spatial_model(file)
    assert model.unet.config.attention_head_dim == [2, 4, 4, 4]
    assert model.text_encoders[0].config.num_attention_heads == 4


def test_the_yaml_of_an_sdxl_file_may_say_v(tmp_path):
    file = write_file(tmp_path / "tiny.safetensors", "SDXL")
    scaling = {"scaling_config": {"target": "sgm.modules.diffusionmodules.denoiser_scaling.VScaling"}}
    beside(file, denoiser_config={"params": scaling})
    assert load_spatial_model(file).prediction == "v"


@pytest.mark.parametrize("content", ["a: [", "- 1", "model: 3", "{}"])
def test_a_yaml_that_is_none_says_so(content, tmp_path):
    file = write_file(tmp_path / "tiny.safetensors", "SD 1.5")
    file.with_suffix(".yaml").write_text(content)
    with pytest.raises(SpatialModelError, match=r"^tiny.yaml is not LDM's description of a model .*it needs model.par"):
        load_spatial_model(file)


def test_a_yaml_with_betas_that_are_none_says_so(tmp_path):
    file = write_file(tmp_path / "tiny.safetensors", "SD 1.5")
    beside(file, linear_start=0.5, linear_end=0.1)
    with pytest.raises(SpatialModelError, match=r"^tiny.yaml has a noise schedule that is none: beta goes from 0.5"):
        load_spatial_model(file)


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_damaged_config_where_the_yaml_points_says_so(content, tmp_path):
    file = write_file(tmp_path / "tiny.safetensors", "SD 1.5")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "config.json").write_text(content)
    beside(file, cond_stage_config={"params": {"version": str(tmp_path / "text")}})
    with pytest.raises(SpatialModelError, match=r"^text/config.json is no configuration of a text encoder: correct"):
        load_spatial_model(file)
