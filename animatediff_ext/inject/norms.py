"""Group norms over a clip instead of over a frame, for families that were trained so (v1, HotshotXL).

Official v1 code (guoyww/AnimateDiff, models/resnet.py, use_inflated_groupnorm false) takes the statistics of the
ResBlocks' norms and of the UNet's output norm over all frames of a clip; the norms of spatial attention stay per frame.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def clip_norms_of(unet: nn.Module) -> Iterator[nn.GroupNorm]:
    """The group norms of a UNet that these families take over a clip."""
    for module in unet.modules():
        if hasattr(module, "in_layers") and hasattr(module, "out_layers"):  # LDM's ResBlock
            yield module.in_layers[0]
            yield module.out_layers[0]
        elif hasattr(module, "conv1") and isinstance(getattr(module, "norm1", None), nn.GroupNorm):  # diffusers'
            yield module.norm1
            yield module.norm2
    yield unet.out[0] if hasattr(unet, "out") else unet.conv_norm_out
