"""Loading image models: every way gives the same model, and what cannot be used says so."""

import gzip
import json
import random
import shutil

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from safetensors.torch import load_file, save_file

from animatediff_ext.formats import FormatError
from animatediff_ext.motion import IMAGE_SCHEDULE, NoiseSchedule
from animatediff_ext.standalone import SpatialModelError, load_spatial_model, tokenizer
from animatediff_ext.standalone.ldm_layout import Part, unet_config
from animatediff_ext.standalone.tokenizer import load_tokenizer
from tests.models.spatial import (
    MERGES,
    WIDTHS,
    ldm_unet_tensors,
    ldm_vae_tensors,
    sd15_unet,
    text_encoder,
    vae,
    words,
    write_file,
    write_folder,
    write_tokenizer,
)

PROMPTS = ["a red cat", ""]


def outputs(model):
    """What a model makes of fixed inputs, one tensor for each of its parts."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 8, 8, generator=generator)
    conditioning = model.encode_text(PROMPTS)
    prediction = model.predict(x, torch.tensor([10, 900]), conditioning)
    mean, std = model.encode_frames(torch.rand(1, 3, 32, 32, generator=generator) * 2 - 1)
    pooled = [] if conditioning.pooled is None else [conditioning.pooled]
    picture = torch.from_numpy(next(model.decode(x))).float()
    return [conditioning.tokens, *pooled, prediction, mean, std, picture]


def assert_same_model(model, other):
    for actual, expected in zip(outputs(model), outputs(other), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


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


# the yaml beside a file


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


# tokenizers


def test_openais_list_of_merges_gives_the_same_ids_as_the_folder(tmp_path):
    folder = write_tokenizer(tmp_path / "tokenizer")
    more = [*MERGES, "x y", "y z"]  # OpenAI's file has more merges than its model uses
    with gzip.open(tmp_path / "merges.txt.gz", "wt", encoding="utf-8") as stream:
        stream.write("\n".join(['"version"', *more, ""]))
    size = len(words())
    text = ["A red  CAT, a dog!", "käse 猫 🐈", ""]
    of_file, of_folder = (load_tokenizer(p, size) for p in (tmp_path / "merges.txt.gz", folder))
    assert of_file(text)["input_ids"] == of_folder(text)["input_ids"]
    assert of_file.get_vocab() == of_folder.get_vocab() == {word: i for i, word in enumerate(words())}


def test_a_folder_with_tokenizer_json_alone_is_a_tokenizer(tmp_path):
    whole = load_tokenizer(write_tokenizer(tmp_path / "tokenizer"), len(words()))
    (tmp_path / "fast").mkdir()
    whole.backend_tokenizer.save(str(tmp_path / "fast" / "tokenizer.json"))
    assert load_tokenizer(tmp_path / "fast", len(words()))("a red cat") == whole("a red cat")


def test_a_files_own_tokenizer_comes_before_the_common_one(tmp_path):
    file = write_file(tmp_path / "tiny.safetensors", "SD 1.5")
    (tmp_path / "tokenizer" / "vocab.json").write_text("damaged")
    with pytest.raises(SpatialModelError, match=r"^tokenizer holds a tokenizer that cannot be read"):
        load_spatial_model(file)
    write_tokenizer(tmp_path / "tiny.tokenizer")
    load_spatial_model(file)


def test_no_tokenizer_anywhere_says_how_to_give_one(tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizer, "OPENAI_CLIP", "nobody/no-such-tokenizer")
    file = write_file(tmp_path / "tiny.safetensors", "SD 1.5")
    shutil.rmtree(tmp_path / "tokenizer")
    with pytest.raises(SpatialModelError, match=r"^No tokenizer: .*Give tokenizer= a folder with vocab.json"):
        load_spatial_model(file)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "^The tokenizer .* is not there: give a folder with vocab.json"),
        (lambda path: path.mkdir(), "^given is a folder without a tokenizer: it needs vocab.json"),
        (lambda path: path.write_text("a b"), "^given is not a compressed list of merges .*give a folder"),
        (lambda path: path.write_bytes(gzip.compress(b"v\na b")), "^given is not CLIP's list of merges for 520 tokens"),
    ],
)
def test_a_tokenizer_that_cannot_be_used_says_why(make, sentence, models, tmp_path):
    make(tmp_path / "given")
    with pytest.raises(SpatialModelError, match=sentence):
        load_spatial_model(models["SD 1.5"][1], tokenizer=tmp_path / "given")


def test_a_tokenizer_that_knows_more_tokens_than_the_text_encoder_says_so(models, tmp_path):
    folder = write_tokenizer(tmp_path / "large")
    more = {word: i for i, word in enumerate([*words(), "cats</w>"])}
    (folder / "vocab.json").write_text(json.dumps(more))
    with pytest.raises(
        SpatialModelError, match=r"^large knows 521 tokens, but the text encoder 520: give the tokenizer"
    ):
        load_spatial_model(models["SD 1.5"][1], tokenizer=folder)


# what is no image model, or not whole

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


# damaged folders


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


def say(folder, **facts):
    folder.mkdir(exist_ok=True)
    file = folder / ("scheduler_config.json" if folder.name == "scheduler" else "config.json")
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(known | facts))


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
