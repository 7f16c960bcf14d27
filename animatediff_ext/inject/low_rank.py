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
    """x ↦ scale · up down x. It starts as zero: ``down`` is random, ``up`` is not."""

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


def motion_attention_layers(motion: MotionModel) -> dict[str, Layer]:
    """q, k, v and output of every temporal attention, under their names in files."""
    layers = {}
    for name, module in motion.named_modules():
        if isinstance(module, JointProjection):
            attention = name.removesuffix("to_qkv")
            num_out, num_in = module.weight.shape
            for i, part in enumerate(module.PARTS):
                layers[attention + part] = Layer(
                    module=module, num_in=num_in, num_out=num_out // 3, part=i, num_parts=3
                )
        elif name.endswith(".to_out.0"):
            layers[name] = _whole(module)
    return layers


_SPATIAL = re.compile(r".*\.attn\d\.to_(?:q|k|v|out\.0)")


def spatial_attention_layers(unet: nn.Module) -> dict[str, Layer]:
    """q, k, v and output of every self- and cross-attention of a UNet of diffusers."""
    return {name: _whole(module) for name, module in unet.named_modules() if _SPATIAL.fullmatch(name)}


def _whole(module: nn.Module) -> Layer:
    return Layer(module=module, num_in=module.in_features, num_out=module.out_features)


@contextmanager
def low_rank_added(
    layers: Mapping[str, Layer], additions: Mapping[str, LowRank], strength: float = 1.0
) -> Iterator[None]:
    """Add ``strength`` times each addition to the layer of the same name; every name must be there."""
    by_module: dict[nn.Module, dict[int, LowRank]] = {}
    for name, addition in additions.items():
        by_module.setdefault(layers[name].module, {})[layers[name].part] = addition
    num_parts = {layer.module: layer.num_parts for layer in layers.values()}
    with ExitStack() as undo:
        for module, parts in by_module.items():
            hook = _adding([parts.get(i) for i in range(num_parts[module])], strength)
            undo.callback(module.register_forward_hook(hook).remove)
        yield


def _adding(parts: list[LowRank | None], strength: float) -> Callable:
    def hook(_module, args: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        x = args[0]
        if len(parts) == 1:
            return output + (strength * parts[0](x)).to(output.dtype)
        chunks = zip(output.chunk(len(parts), dim=-1), parts, strict=True)
        return torch.cat([y if part is None else y + (strength * part(x)).to(y.dtype) for y, part in chunks], dim=-1)

    return hook
