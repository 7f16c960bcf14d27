"""diffusers' names → LDM's, the direction in which models are written.

They are read by other rules (diffusers' own converters), so that writing and reading check each other.
"""

from __future__ import annotations

import re

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

_UNET_STARTS = {
    "conv_in.": "input_blocks.0.0.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
    "mid_block.resnets.0.": "middle_block.0.",
    "mid_block.attentions.0.": "middle_block.1.",
    "mid_block.resnets.1.": "middle_block.2.",
}
_RESNET = {
    ".norm1.": ".in_layers.0.",
    ".conv1.": ".in_layers.2.",
    ".time_emb_proj.": ".emb_layers.1.",
    ".norm2.": ".out_layers.0.",
    ".conv2.": ".out_layers.3.",
    ".conv_shortcut.": ".skip_connection.",
}


def ldm_unet_tensors(unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
    """The UNet's own tensors as LDM names them, without the prefix ``model.diffusion_model.``."""
    return {_ldm_unet_name(name, unet): tensor for name, tensor in unet.state_dict().items()}


def _ldm_unet_name(name: str, unet: UNet2DConditionModel) -> str:
    for diffusers, ldm in _UNET_STARTS.items():
        name = re.sub(f"^{re.escape(diffusers)}", ldm, name)
    place = re.match(r"(down|up)_blocks\.(\d)\.(\w+?)\.(\d)\.(.*)", name)
    if place:
        side, level, part, i, rest = place.groups()
        name = f"{_ldm_block(unet, side, int(level), part, int(i))}.{rest}".replace(".op.conv.", ".op.")
    if "transformer_blocks" not in name:
        for diffusers, ldm in _RESNET.items():
            name = name.replace(diffusers, ldm)
    return name


def _ldm_block(unet: UNet2DConditionModel, side: str, level: int, part: str, i: int) -> str:
    layers = unet.config.layers_per_block
    first = level * (layers + 1)
    if part == "downsamplers":
        return f"input_blocks.{first + layers + 1}.0.op"
    if part == "upsamplers":  # behind the ResBlock, and behind the attention where there is one
        return f"output_blocks.{first + layers}.{1 + hasattr(unet.up_blocks[level], 'attentions')}"
    child = ("resnets", "attentions").index(part)
    return f"input_blocks.{first + i + 1}.{child}" if side == "down" else f"output_blocks.{first + i}.{child}"


def ldm_vae_tensors(model: AutoencoderKL) -> dict[str, torch.Tensor]:
    """A VAE's tensors as LDM names them, without the prefix ``first_stage_model.``."""
    levels = len(model.config.block_out_channels)
    tensors = {}
    for name, tensor in model.state_dict().items():
        if ".attentions." in name and name.endswith("weight") and tensor.ndim == 2:
            tensor = tensor[:, :, None, None]  # LDM has 1x1 convolutions there
        tensors[_ldm_vae_name(name, levels)] = tensor
    return tensors


_VAE = {
    "down_blocks.": "down.",
    "downsamplers.0.": "downsample.",
    "upsamplers.0.": "upsample.",
    "mid_block.resnets.0.": "mid.block_1.",
    "mid_block.resnets.1.": "mid.block_2.",
    "mid_block.attentions.0.": "mid.attn_1.",
    "group_norm.": "norm.",
    "to_q.": "q.",
    "to_k.": "k.",
    "to_v.": "v.",
    "to_out.0.": "proj_out.",
    "resnets.": "block.",
    "conv_norm_out.": "norm_out.",
    "conv_shortcut.": "nin_shortcut.",
}


def _ldm_vae_name(name: str, levels: int) -> str:
    name = re.sub(r"up_blocks\.(\d)", lambda match: f"up.{levels - 1 - int(match[1])}", name)
    for diffusers, ldm in _VAE.items():
        name = name.replace(diffusers, ldm)
    return name
