"""LDM's names and shapes → the configurations of diffusers and transformers. Every size comes from the tensors.

LDM is the layout of single-file checkpoints: ``model.diffusion_model.*`` is the UNet, ``first_stage_model.*`` the VAE,
``cond_stage_model.*`` (SD 1.5) or ``conditioner.embedders.*`` (SDXL) the text encoders. What shapes cannot tell, the
number of attention heads, is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from animatediff_ext.standalone.error import SpatialModelError

HeadCount = Callable[[int], int]
"""``heads(channels) -> number of attention heads``"""

SIZE_NUMBERS = 6
"""SDXL is told the original size, the crop and the target size: three pairs, each number embedded by itself."""


class Part:
    """The tensors of one part of a checkpoint, under their names without the part's prefix."""

    def __init__(self, path: Path, tensors: Mapping[str, torch.Tensor], prefix: str):
        self.path = path
        self.prefix = prefix
        self._shapes = {
            name.removeprefix(prefix): tensor.shape for name, tensor in tensors.items() if name.startswith(prefix)
        }

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def shape(self, name: str) -> torch.Size:
        if name not in self._shapes:
            raise self.lacks(name)
        return self._shapes[name]

    def lacks(self, name: str) -> SpatialModelError:
        return SpatialModelError.about(
            self.path,
            f"lacks the tensor {self.prefix + name}: it is damaged, or not a Stable Diffusion 1.5 or SDXL checkpoint. "
            "Download it again, or give another one.",
        )

    def count(self, stem: str) -> int:
        """How many numbers follow ``stem`` in names: 2 for ``blocks.0.…`` and ``blocks.1.…``."""
        found = (re.match(rf"{re.escape(stem)}(\d+)\.", name) for name in self._shapes)
        return len({match[1] for match in found if match})


def unet_config(unet: Part, heads: HeadCount, pooled_width: int | None) -> dict[str, Any]:
    """Arguments of `UNet2DConditionModel`. ``pooled_width`` is that of SDXL's pooled text, None for SD 1.5."""
    levels = _levels(unet)
    widths = [unet.shape(f"input_blocks.{level[0]}.0.out_layers.3.weight")[0] for level in levels]
    depths = [unet.count(f"input_blocks.{level[0]}.1.transformer_blocks.") for level in levels]
    middle = unet.count("middle_block.1.transformer_blocks.")
    config = {
        "in_channels": unet.shape("input_blocks.0.0.weight")[1],
        "out_channels": unet.shape("out.2.weight")[0],
        "block_out_channels": widths,
        "layers_per_block": len(levels[0]),
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)],
        # the middle block has the depth that stands last, where the last level has no attention
        "transformer_layers_per_block": [*(depth or 1 for depth in depths[:-1]), depths[-1] or middle],
        "cross_attention_dim": unet.shape("middle_block.1.transformer_blocks.0.attn2.to_k.weight")[1],
        "attention_head_dim": [heads(width) for width in widths],  # diffusers' name for the number of heads
        "use_linear_projection": len(unet.shape("middle_block.1.proj_in.weight")) == 2,
    }
    return config if pooled_width is None else config | _added_conditions(unet, pooled_width)


def _levels(unet: Part) -> list[list[int]]:
    """The numbers of the input blocks with ResBlocks, level by level; a Downsample ends a level."""
    levels: list[list[int]] = [[]]
    num_blocks = unet.count("input_blocks.")
    for block in range(1, num_blocks):
        if f"input_blocks.{block}.0.op.weight" in unet:
            levels.append([])
        else:
            levels[-1].append(block)
    if not all(levels):
        raise unet.lacks(f"input_blocks.{num_blocks}.0.out_layers.3.weight")
    return levels


def _added_conditions(unet: Part, pooled_width: int) -> dict[str, Any]:
    width = unet.shape("label_emb.0.0.weight")[1]
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": (width - pooled_width) // SIZE_NUMBERS,
        "projection_class_embeddings_input_dim": width,
    }


def vae_config(vae: Part, latent_scale: float) -> dict[str, Any]:
    """Arguments of `AutoencoderKL`."""
    num_levels = vae.count("encoder.down.")
    widths = [vae.shape(f"encoder.down.{i}.block.0.conv1.weight")[0] for i in range(num_levels)]
    return {
        "in_channels": vae.shape("encoder.conv_in.weight")[1],
        "out_channels": vae.shape("decoder.conv_out.weight")[0],
        "latent_channels": vae.shape("decoder.conv_in.weight")[1],
        "block_out_channels": widths,
        "layers_per_block": vae.count("encoder.down.0.block."),
        "down_block_types": ["DownEncoderBlock2D"] * num_levels,
        "up_block_types": ["UpDecoderBlock2D"] * num_levels,
        "scaling_factor": latent_scale,
    }


def clip_config(encoder: Part, heads: HeadCount) -> dict[str, Any]:
    """Arguments of `CLIPTextConfig`, from an encoder with transformers' names."""
    vocab_size, width = encoder.shape("embeddings.token_embedding.weight")
    return {
        "vocab_size": vocab_size,
        "hidden_size": width,
        "intermediate_size": encoder.shape("encoder.layers.0.mlp.fc1.weight")[0],
        "num_hidden_layers": encoder.count("encoder.layers."),
        "num_attention_heads": heads(width),
        "max_position_embeddings": encoder.shape("embeddings.position_embedding.weight")[0],
        "hidden_act": "quick_gelu",
    }


def open_clip_config(encoder: Part, heads: HeadCount) -> dict[str, Any]:
    """Arguments of `CLIPTextConfig`, from an encoder with open_clip's names."""
    vocab_size, width = encoder.shape("token_embedding.weight")
    return {
        "vocab_size": vocab_size,
        "hidden_size": width,
        "intermediate_size": encoder.shape("transformer.resblocks.0.mlp.c_fc.weight")[0],
        "num_hidden_layers": encoder.count("transformer.resblocks."),
        "num_attention_heads": heads(width),
        "max_position_embeddings": encoder.shape("positional_embedding")[0],
        "hidden_act": "gelu",
        "projection_dim": encoder.shape("text_projection")[1],
    }
