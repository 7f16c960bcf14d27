"""LDM's names of a UNet's layers, which LoRAs for SDXL have (sd-scripts, networks/lora.py).

Those of attention blocks are known to `formats.load_lora`; here are the ResBlocks and what is around them.
"""

from __future__ import annotations

from collections.abc import Iterator

from diffusers import UNet2DConditionModel

_ENDS = {
    "input_blocks_0_0": "conv_in",
    "out_2": "conv_out",
    "time_embed_0": "time_embedding.linear_1",
    "time_embed_2": "time_embedding.linear_2",
    "label_emb_0_0": "add_embedding.linear_1",
    "label_emb_0_2": "add_embedding.linear_2",
}
_RESNET = {
    "in_layers_2": "conv1",
    "emb_layers_1": "time_emb_proj",
    "out_layers_3": "conv2",
    "skip_connection": "conv_shortcut",
}


def from_ldm(unet: UNet2DConditionModel) -> dict[str, str]:
    """LDM's flat name → diffusers' dotted name, of every layer whose names differ, attention apart."""
    resnets = {f"{ldm}_{a}": f"{ours}.{b}" for ldm, ours in _resnets(unet) for a, b in _RESNET.items()}
    return _ENDS | resnets | dict(_samplers(unet))


def _resnets(unet: UNet2DConditionModel) -> Iterator[tuple[str, str]]:
    """A level has its ResBlocks and a downsampling on the way in, one ResBlock more on the way out."""
    for level, block in enumerate(unet.down_blocks):
        for place in range(len(block.resnets)):
            number = level * (len(block.resnets) + 1) + place + 1  # the first block is the first convolution
            yield f"input_blocks_{number}_0", f"down_blocks.{level}.resnets.{place}"
    for place in range(2):
        yield f"middle_block_{2 * place}", f"mid_block.resnets.{place}"  # attention is between them
    for level, block in enumerate(unet.up_blocks):
        for place in range(len(block.resnets)):
            yield f"output_blocks_{level * len(block.resnets) + place}_0", f"up_blocks.{level}.resnets.{place}"


def _samplers(unet: UNet2DConditionModel) -> Iterator[tuple[str, str]]:
    for level, block in enumerate(unet.down_blocks):
        number = (level + 1) * (len(block.resnets) + 1)
        yield f"input_blocks_{number}_0_op", f"down_blocks.{level}.downsamplers.0.conv"
    for level, block in enumerate(unet.up_blocks):
        number = (level + 1) * len(block.resnets) - 1
        place = 2 if hasattr(block, "attentions") else 1  # behind the ResBlock, and behind attention where there is any
        yield f"output_blocks_{number}_{place}_conv", f"up_blocks.{level}.upsamplers.0.conv"
