"""The motion modules inside SparseCtrl (Guo et al., arXiv 2311.16933), for ControlNet's loader of such files.

It makes a ``MotionWrapper``, loads those weights of the file into it whose names say "motion_modules", and puts
``down_blocks[i].motion_modules[j]`` behind the layers of its control model, which calls each of them with nothing but
rows. A SparseCtrl has half of a motion module: one attention, and no modules in the middle block and in the up blocks.

Axes: s streams, f frames, c channels, h height, w width.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path

import torch
from torch import nn

from animatediff_ext.formats.container import TensorFile
from animatediff_ext.formats.recognise import recognise
from animatediff_ext.formats.spelling import official
from animatediff_ext.motion import MotionModel, MotionModule
from animatediff_ext.motion.manner import Manner


class MotionModuleType(Enum):
    """Names under which other extensions ask for motion modules. Only SparseCtrl's are made here: the others are
    hooked into the UNet, and nobody else has to make them."""

    AnimateDiffV1 = "AnimateDiff v1"
    AnimateDiffV2 = "AnimateDiff v2"
    AnimateDiffV3 = "AnimateDiff v3"
    AnimateDiffXL = "AnimateDiff SDXL-beta"
    AnimateLCM = "AnimateLCM"
    SparseCtrl = "SparseCtrl"
    HotShotXL = "HotshotXL"


class SparseMotion(nn.Module):
    """A motion module that can be called with rows alone: then each is a clip of one frame. A generation hands over the
    frames of the run (`control_hints`)."""

    def __init__(self, module: MotionModule):
        super().__init__()
        self.module = module

    @property
    def num_positions(self) -> int:
        return self.module.temporal_transformer.transformer_blocks[0].attention_blocks[0].pos_encoder.pe.shape[1]

    def forward(self, x: torch.Tensor, manner: Manner | int = 1) -> torch.Tensor:
        """``(s f) c h w`` → the same, with the motion added."""
        return self.module(x, manner)


class _Block(nn.Module):
    def __init__(self, modules: nn.ModuleList):
        super().__init__()
        self.motion_modules = nn.ModuleList(SparseMotion(module) for module in modules)


class MotionWrapper(nn.Module):
    """``down_blocks[i].motion_modules[j]``, as many and as large as the weights say that are loaded."""

    def __init__(self, mm_name: str, mm_hash: str, mm_type: MotionModuleType):
        super().__init__()
        if mm_type is not MotionModuleType.SparseCtrl:
            raise ValueError(
                f"Motion modules of the kind {mm_type.value} are loaded by AnimateDiff itself, not from here."
            )
        self.mm_name, self.mm_hash, self.mm_type = mm_name, mm_hash, mm_type
        self.down_blocks = nn.ModuleList()

    def load_state_dict(self, state_dict: Mapping[str, torch.Tensor], strict: bool = True, **_kwargs):
        """Raises `FormatError` for what is no SparseCtrl's motion, or not all of it, whether ``strict`` or not."""
        tensors = dict(state_dict)
        file = TensorFile(
            path=Path("The SparseCtrl model"),
            layout=tensors,
            read=lambda names: {name: tensors[name] for name in names},
        )
        found = recognise(file, "v3")
        model = MotionModel(found.config).requires_grad_(False)
        # What may be missing are tables of positions, which the model makes itself.
        answer = model.load_state_dict(
            official({short: tensors[full] for short, full in found.names.items()}), strict=False
        )
        self.down_blocks = nn.ModuleList(_Block(block.motion_modules) for block in model.down_blocks)
        return answer
