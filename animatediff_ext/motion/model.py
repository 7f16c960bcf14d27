"""All motion modules of one file, named as the official code names them.

Axes: s streams, f frames, c channels, h height, w width.
"""

from __future__ import annotations

import torch
from torch import nn

from animatediff_ext.motion.config import MotionConfig
from animatediff_ext.motion.layers import TemporalTransformer
from animatediff_ext.motion.manner import Manner


class MotionModule(nn.Module):
    """One motion module: what goes behind one layer of the UNet."""

    def __init__(self, channels: int, config: MotionConfig):
        super().__init__()
        self.temporal_transformer = TemporalTransformer(
            channels,
            num_heads=config.num_heads,
            num_positions=config.num_positions,
            num_attentions=config.num_attentions,
            num_layers=config.num_layers,
            num_groups=config.num_groups,
            norm_span=config.family.module_norm,
        )

    def forward(self, x: torch.Tensor, manner: Manner | int) -> torch.Tensor:
        """``(s f) c h w`` → the same, with the motion added. The frames of a clip lie next to each other; a number of
        them says as much as a plain `Manner`."""
        return self.temporal_transformer(x, Manner(num_frames=manner) if isinstance(manner, int) else manner)


class MotionBlock(nn.Module):
    """The modules of one block of the UNet."""

    def __init__(self, channels: tuple[int, ...], config: MotionConfig):
        super().__init__()
        self.motion_modules = nn.ModuleList(MotionModule(c, config) for c in channels)


class MotionModel(nn.Module):
    """The motion modules of a whole UNet. It is not called itself: `animatediff_ext.inject` hooks its modules.

    ``state_dict()`` and ``load_state_dict()`` speak the official keys.
    """

    def __init__(self, config: MotionConfig):
        super().__init__()
        self.config = config
        self.info: object | None = None  # what the loader knows of the file (formats.ModuleInfo)
        self.down_blocks = nn.ModuleList(MotionBlock(c, config) for c in config.down_channels)
        self.mid_block = MotionBlock(config.mid_channels, config) if config.mid_channels else None
        self.up_blocks = nn.ModuleList(MotionBlock(c, config) for c in config.up_channels)

    def at(self, site: str) -> MotionModule:
        """The module of an official name such as ``down_blocks.0.motion_modules.1``."""
        return self.get_submodule(site)

    def use_gradient_checkpointing(self, on: bool = True) -> None:
        """In training: keep no activations inside the modules, compute them once more in the backward pass."""
        for module in self.modules():
            if isinstance(module, TemporalTransformer):
                module.gradient_checkpointing = on
