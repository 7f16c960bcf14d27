"""Tiny image models with weights made from names, as other programs store them: diffusers folders, LDM's single files.

The names in single files are written by `standalone.ldm_names`, and read by diffusers' converters.
"""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection
from transformers.models.clip.tokenization_clip import bytes_to_unicode

from animatediff_ext.standalone.ldm_names import ldm_unet_tensors, ldm_vae_tensors
from tests.models.golden import fill_by_name

MERGES = ("c a", "ca t</w>", "d o", "do g</w>", "r e", "re d</w>")
START, END = "<|startoftext|>", "<|endoftext|>"
WIDTHS = {"SD 1.5": (32, 64, 64, 64), "SDXL": (64, 128, 128)}
TEXT_WIDTH, POOLED_WIDTH, SIZE_WIDTH = 64, 32, 8


def words() -> list[str]:
    """The vocabulary: bytes, bytes that end a word, merges, special tokens."""
    letters = list(bytes_to_unicode().values())
    return [*letters, *(f"{x}</w>" for x in letters), *(merge.replace(" ", "") for merge in MERGES), START, END]


def write_tokenizer(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words())}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES, ""]))
    return folder


def sd15_unet(**changed) -> UNet2DConditionModel:
    sizes = {"block_out_channels": WIDTHS["SD 1.5"], "cross_attention_dim": TEXT_WIDTH, "attention_head_dim": 8}
    return fill_by_name(UNet2DConditionModel(**sizes | changed))


def sdxl_unet() -> UNet2DConditionModel:
    """SDXL's structure: three levels, none of attention in the first, two transformer blocks in the last."""
    unet = UNet2DConditionModel(
        block_out_channels=WIDTHS["SDXL"],
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(1, 2, 2),
        use_linear_projection=True,
        cross_attention_dim=2 * TEXT_WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=SIZE_WIDTH,
        projection_class_embeddings_input_dim=POOLED_WIDTH + 6 * SIZE_WIDTH,
    )
    return fill_by_name(unet)


def vae(scale: float, **changed) -> AutoencoderKL:
    sizes = {"block_out_channels": (32, 32, 64, 64), "layers_per_block": 2}
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        scaling_factor=scale,
        **sizes | changed,
    )
    return fill_by_name(model)


def text_encoder(kind: type = CLIPTextModel, act: str = "quick_gelu", num_heads: int = 1) -> nn.Module:
    vocabulary = words()
    config = CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=TEXT_WIDTH,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=num_heads,
        hidden_act=act,
        projection_dim=POOLED_WIDTH,
        bos_token_id=vocabulary.index(START),
        eos_token_id=vocabulary.index(END),
    )
    return fill_by_name(kind(config))


def components(base: str) -> dict[str, nn.Module]:
    """The parts of a tiny model by the names of their folders in a diffusers pipeline."""
    if base == "SD 1.5":
        return {"unet": sd15_unet(), "vae": vae(0.18215), "text_encoder": text_encoder()}
    second = text_encoder(CLIPTextModelWithProjection, "gelu")
    return {"unet": sdxl_unet(), "vae": vae(0.13025), "text_encoder": text_encoder(), "text_encoder_2": second}


def half_of_the_layers() -> dict[str, nn.Module]:
    """To replace those of "SD 1.5" in a folder, where many steps are taken and their number does not matter."""
    return {"unet": sd15_unet(layers_per_block=1), "vae": vae(0.18215, layers_per_block=1)}


def write_folder(folder: Path, base: str, **changed: nn.Module) -> Path:
    """A diffusers pipeline; ``changed`` replaces components."""
    for name, model in (components(base) | changed).items():
        model.save_pretrained(folder / name)
    write_tokenizer(folder / "tokenizer")
    pipeline = {"SD 1.5": "StableDiffusionPipeline", "SDXL": "StableDiffusionXLPipeline"}[base]
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    return folder


def write_file(path: Path, base: str, *, metadata=None, without: str = "nothing", **changed: nn.Module) -> Path:
    """A checkpoint in one file, with a tokenizer beside it. ``without`` is a prefix of names to leave out."""
    parts = components(base) | changed
    tensors = {name: t for name, t in ldm_tensors(base, parts).items() if not name.startswith(without)}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=metadata)
    if not (path.parent / "tokenizer").exists():
        write_tokenizer(path.parent / "tokenizer")
    return path


def ldm_tensors(base: str, parts: dict[str, nn.Module]) -> dict[str, torch.Tensor]:
    tensors = {f"model.diffusion_model.{n}": t for n, t in ldm_unet_tensors(parts["unet"]).items()}
    tensors |= {f"first_stage_model.{n}": t for n, t in ldm_vae_tensors(parts["vae"]).items()}
    prefix = {"SD 1.5": "cond_stage_model.transformer.", "SDXL": "conditioner.embedders.0.transformer."}[base]
    tensors |= {prefix + name: tensor for name, tensor in parts["text_encoder"].state_dict().items()}
    tensors[f"{prefix}text_model.embeddings.position_ids"] = torch.arange(77)[None]  # transformers once saved it
    if base == "SDXL":
        second = open_clip_tensors(parts["text_encoder_2"])
        tensors |= {f"conditioner.embedders.1.model.{name}": tensor for name, tensor in second.items()}
    return tensors | {"alphas_cumprod": torch.zeros(1000)}


_OPEN_CLIP = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.": "ln_final.",
    "text_model.encoder.layers.": "transformer.resblocks.",
    ".layer_norm1.": ".ln_1.",
    ".layer_norm2.": ".ln_2.",
    ".mlp.fc1.": ".mlp.c_fc.",
    ".mlp.fc2.": ".mlp.c_proj.",
    ".self_attn.out_proj.": ".attn.out_proj.",
}


def open_clip_tensors(model: CLIPTextModelWithProjection) -> dict[str, torch.Tensor]:
    state = model.state_dict()
    tensors = {"logit_scale": torch.tensor(4.6)}
    for name, tensor in state.items():
        if ".q_proj." in name:  # open_clip has q, k and v in one
            kind = name.rpartition(".")[2]
            name = name.replace(f".self_attn.q_proj.{kind}", f".attn.in_proj_{kind}")
            layer = name.split("layers.")[1].split(".")[0]
            stem = f"text_model.encoder.layers.{layer}.self_attn"
            tensor = torch.cat([state[f"{stem}.{x}_proj.{kind}"] for x in "qkv"])
        elif ".k_proj." in name or ".v_proj." in name:
            continue
        elif name == "text_projection.weight":
            name, tensor = "text_projection", tensor.T
        for transformers, open_clip in _OPEN_CLIP.items():
            name = name.replace(transformers, open_clip)
        tensors[name] = tensor
    return tensors
