"""Toy image models as the WebUI's users have theirs: one file, LDM's description beside it, and the tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
import yaml
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextModel

from animatediff_ext.standalone.checkpoint import CLIP, UNET, VAE
from animatediff_ext.standalone.ldm_names import ldm_unet_tensors, ldm_vae_tensors
from animatediff_ext.toy.files import CLIP_FOLDER
from animatediff_ext.toy.networks import SCHEDULE
from animatediff_ext.toy.scene import SIDE
from animatediff_ext.whole_file import whole_file


def write_checkpoint(
    path: Path,
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """A v-predicting checkpoint in float16. Its description comes first: where the file is, it is complete."""
    write_description(path, unet, vae, CLIP_FOLDER)
    tensors = {f"{UNET}{name}": tensor for name, tensor in ldm_unet_tensors(unet).items()}
    tensors |= {f"{VAE}{name}": tensor for name, tensor in ldm_vae_tensors(vae).items()}
    tensors |= {f"{CLIP['SD 1.5']}{name}": tensor for name, tensor in text_encoder.state_dict().items()}
    halves = {name: tensor.detach().to(torch.float16).contiguous() for name, tensor in tensors.items()}
    with whole_file(path) as part:
        save_file(halves, part, metadata={"format": "pt", "modelspec.title": path.stem, **(metadata or {})})
    return path


def write_clip_config(folder: Path, text_encoder: CLIPTextModel) -> None:
    with whole_file(folder / "config.json") as part:
        part.write_text(json.dumps(text_encoder.config.to_diff_dict() | {"model_type": "clip_text_model"}, indent=2))


def write_description(path: Path, unet: UNet2DConditionModel, vae: AutoencoderKL, clip: str) -> None:
    """LDM's YAML file beside a checkpoint, from which the WebUI builds the model."""
    with whole_file(path.with_suffix(".yaml")) as part:
        part.write_text(yaml.safe_dump({"model": _description(unet, vae, clip)}, sort_keys=False), encoding="utf-8")


def _description(unet: UNet2DConditionModel, vae: AutoencoderKL, clip: str) -> dict:
    width, *_ = unet.config.block_out_channels
    levels = len(unet.config.block_out_channels)
    first, *_ = vae.config.block_out_channels
    return {
        "target": "ldm.models.diffusion.ddpm.LatentDiffusion",
        "params": {
            "linear_start": SCHEDULE.beta_start,
            "linear_end": SCHEDULE.beta_end,
            "timesteps": SCHEDULE.num_timesteps,
            "parameterization": "v",
            "first_stage_key": "jpg",
            "cond_stage_key": "txt",
            "conditioning_key": "crossattn",
            "image_size": SIDE // 8,
            "channels": 4,
            "scale_factor": vae.config.scaling_factor,
            "use_ema": False,
            "unet_config": {
                "target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
                "params": {
                    "image_size": SIDE // 8,
                    "in_channels": 4,
                    "out_channels": 4,
                    "model_channels": width,
                    "channel_mult": [channels // width for channels in unet.config.block_out_channels],
                    "num_res_blocks": unet.config.layers_per_block,
                    "attention_resolutions": [2**level for level in reversed(range(levels - 1))],
                    "num_heads": unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1.heads,
                    "use_spatial_transformer": True,
                    "transformer_depth": 1,
                    "context_dim": unet.config.cross_attention_dim,
                    "use_checkpoint": False,
                    "legacy": False,
                },
            },
            "first_stage_config": {
                "target": "ldm.models.autoencoder.AutoencoderKL",
                "params": {
                    "embed_dim": 4,
                    "monitor": "val/rec_loss",
                    "ddconfig": {
                        "double_z": True,
                        "z_channels": 4,
                        "resolution": SIDE,
                        "in_channels": 3,
                        "out_ch": 3,
                        "ch": first,
                        "ch_mult": [channels // first for channels in vae.config.block_out_channels],
                        "num_res_blocks": vae.config.layers_per_block,
                        "attn_resolutions": [],
                        "dropout": 0.0,
                    },
                    "lossconfig": {"target": "torch.nn.Identity"},
                },
            },
            "cond_stage_config": {
                "target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder",
                "params": {"version": clip},
            },
        },
    }
