"""Low-rank additions to linear layers (LoRA, Hu et al., arXiv 2106.09685), for as long as a ``with`` lasts.

A layer is known by its dotted name in diffusers or in the official motion module, e.g.
``down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q`` or
``down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.to_out.0``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from animatediff_ext.motion import MotionModel
from animatediff_ext.motion.layers import JointProjection


class LowRank(nn.Module):
    """x ↦ scale · up down x, in its own dtype. It starts as zero: ``down`` is random, ``up`` is not."""

    def __init__(self, num_in: int, num_out: int, rank: int, scale: float = 1.0):
        super().__init__()
        self.scale = scale
        self.down = nn.Parameter(torch.empty(rank, num_in))
        self.up = nn.Parameter(torch.zeros(num_out, rank))
        nn.init.normal_(self.down, std=1 / rank)

    @classmethod
    def of(cls, down: torch.Tensor, up: torch.Tensor) -> LowRank:
        """With these weights, ``(rank, in)`` and ``(out, rank)``, and a scale of one."""
        with torch.device("meta"):
            layer = cls(down.shape[1], up.shape[0], down.shape[0])
        layer.load_state_dict({"down": down, "up": up}, assign=True)
        return layer.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(F.linear(x.to(self.down.dtype), self.down), self.up * self.scale)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A linear layer, or the part of a joint one, to which something can be added."""

    module: nn.Module
    num_in: int
    num_out: int
    part: int = 0
    """Which of the equal parts of the module's output this is."""
    num_parts: int = 1


def motion_layers(motion: MotionModel) -> dict[str, Layer]:
    """Every linear layer of the motion modules, under its name in files. MotionDirector's LoRAs have feed-forwards."""
    layers = {}
    for name, module in motion.named_modules():
        if isinstance(module, JointProjection):
            layers |= _parts(name.removesuffix("to_qkv"), module)
        elif isinstance(module, nn.Linear):
            layers[name] = _whole(module)
    return layers


def motion_attention_layers(motion: MotionModel) -> dict[str, Layer]:
    """q, k, v and output of every temporal attention: the layers of the official motion LoRAs."""
    return {name: layer for name, layer in motion_layers(motion).items() if ".attention_blocks." in name}


def _parts(attention: str, module: JointProjection) -> dict[str, Layer]:
    num_parts = len(module.PARTS)
    num_out, num_in = module.weight.shape
    return {
        attention + name: Layer(module=module, num_in=num_in, num_out=num_out // num_parts, part=i, num_parts=num_parts)
        for i, name in enumerate(module.PARTS)
    }


_SPATIAL_ATTENTION = re.compile(r"(?!.*\.motion_modules\.).*\.transformer_blocks\.\d+\.attn\d\.to_(?:q|k|v|out\.0)")
"""In LDM's UNets as in diffusers'."""


def spatial_attention_layers(unet: nn.Module) -> dict[str, Layer]:
    """q, k, v and output of every self- and cross-attention, by the names of the UNet: LDM's or diffusers'."""
    return {name: _whole(module) for name, module in unet.named_modules() if _SPATIAL_ATTENTION.fullmatch(name)}


def _whole(module: nn.Module) -> Layer:
    return Layer(module=module, num_in=module.in_features, num_out=module.out_features)


Strength = float | Callable[[torch.Tensor], "float | torch.Tensor"]
"""A factor; or a function that is asked at each call of a layer, and given its input."""


@contextmanager
def low_rank_added(
    layers: Mapping[str, Layer], additions: Mapping[str, LowRank], strength: Strength = 1.0
) -> Iterator[None]:
    """Add ``strength`` times each addition to the layer of the same name. These may nest: then all are added.

    Every name has to be in ``layers``, and every addition of its layer's sizes; `LoraFile.for_layers` sees to it for
    files. An addition may be of another dtype than its layer: it computes in its own, the sum is in the layer's.
    """
    by_module: dict[nn.Module, list[LowRank | None]] = {}
    for name, addition in additions.items():
        assert name in layers, f"{name} is not among the layers, such as {next(iter(layers), 'none')}"
        layer, sizes = layers[name], (addition.down.shape[1], addition.up.shape[0])
        assert sizes == (layer.num_in, layer.num_out), f"{name} has sizes {layer.num_in, layer.num_out}, not {sizes}"
        by_module.setdefault(layer.module, [None] * layer.num_parts)[layer.part] = addition
    with ExitStack() as undo:
        for module, parts in by_module.items():
            undo.callback(module.register_forward_hook(_adding(parts, strength)).remove)
        yield


def _adding(parts: list[LowRank | None], strength: Strength) -> Callable:
    def hook(_module, args: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        x = args[0]
        factor = strength(x) if callable(strength) else strength
        sums = [
            y if part is None else y + (factor * part(x)).to(y.dtype)
            for y, part in zip(output.chunk(len(parts), dim=-1), parts, strict=True)
        ]
        return sums[0] if len(sums) == 1 else torch.cat(sums, dim=-1)

    return hook
