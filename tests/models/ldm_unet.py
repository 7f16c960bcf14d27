"""A small UNet of LDM's structure and names, with diffusers' numerics, for tests of injection.

It has what makes LDM's UNet different for a guest: lists of sequential blocks, an Upsample inside an output block,
Downsample blocks of their own, group norms inside ``in_layers`` and ``out_layers``.
"""

import math
import re

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn


def timestep_embedding(timesteps: torch.Tensor, channels: int) -> torch.Tensor:
    half = channels // 2
    frequency = torch.exp(-math.log(10_000) * torch.arange(half) / half)
    angle = timesteps[:, None].float() * frequency[None]
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


class ResBlock(nn.Module):
    def __init__(self, channels: int, out_channels: int, emb_channels: int):
        super().__init__()
        self.out_channels = out_channels
        self.in_layers = nn.Sequential(
            nn.GroupNorm(32, channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, out_channels))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, out_channels),
            nn.SiLU(),
            nn.Identity(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        same = channels == out_channels
        self.skip_connection = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x, emb):
        h = self.in_layers(x) + self.emb_layers(emb)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


class CrossAttention(nn.Module):
    def __init__(self, channels: int, context_dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(context_dim, channels, bias=False)
        self.to_v = nn.Linear(context_dim, channels, bias=False)
        self.to_out = nn.Sequential(nn.Linear(channels, channels), nn.Dropout(0.0))

    def forward(self, x, context=None):
        context = x if context is None else context
        q, k, v = (
            rearrange(t, "b s (n d) -> b n s d", n=self.heads)
            for t in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        return self.to_out(rearrange(F.scaled_dot_product_attention(q, k, v), "b n s d -> b s (n d)"))


class GEGLU(nn.Module):
    def __init__(self, channels: int, inner: int):
        super().__init__()
        self.proj = nn.Linear(channels, 2 * inner)

    def forward(self, x):
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.net = nn.Sequential(GEGLU(channels, 4 * channels), nn.Dropout(0.0), nn.Linear(4 * channels, channels))

    def forward(self, x):
        return self.net(x)


class BasicTransformerBlock(nn.Module):
    def __init__(self, channels: int, context_dim: int, heads: int):
        super().__init__()
        self.attn1 = CrossAttention(channels, channels, heads)
        self.attn2 = CrossAttention(channels, context_dim, heads)
        self.ff = FeedForward(channels)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))

    def forward(self, x, context):
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    def __init__(self, channels: int, context_dim: int, heads: int):
        super().__init__()
        self.norm = nn.GroupNorm(32, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList([BasicTransformerBlock(channels, context_dim, heads)])
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x, context):
        h = self.proj_in(self.norm(x))
        tokens = rearrange(h, "b c h w -> b (h w) c")
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        return x + self.proj_out(rearrange(tokens, "b (h w) c -> b c h w", h=x.shape[2]))


class Downsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x):
        return self.op(x)


class Upsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class TimestepEmbedSequential(nn.Sequential):
    def forward(self, x, emb, context):
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, emb)
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, context)
            else:
                x = layer(x)
        return x


class UNetModel(nn.Module):
    """``widths`` are the channels of the levels, ``attention`` says which of them have spatial attention."""

    def __init__(self, widths=(32, 64, 64, 64), attention=(True, True, True, False), context_dim=32, heads=8, layers=2):
        super().__init__()
        self.model_channels = widths[0]
        emb = 4 * widths[0]
        self.time_embed = nn.Sequential(nn.Linear(widths[0], emb), nn.SiLU(), nn.Linear(emb, emb))

        def layer(channels, out_channels, attend):
            attention = [SpatialTransformer(out_channels, context_dim, heads)] if attend else []
            return [ResBlock(channels, out_channels, emb), *attention]

        block = TimestepEmbedSequential
        channels, skips = widths[0], [widths[0]]
        self.input_blocks = nn.ModuleList([block(nn.Conv2d(4, widths[0], 3, padding=1))])
        for level, width in enumerate(widths):
            for _ in range(layers):
                self.input_blocks.append(block(*layer(channels, width, attention[level])))
                channels = width
                skips.append(channels)
            if level < len(widths) - 1:
                self.input_blocks.append(block(Downsample(channels)))
                skips.append(channels)
        self.middle_block = block(*layer(channels, channels, True), ResBlock(channels, channels, emb))
        self.output_blocks = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            for place in range(layers + 1):
                children = layer(channels + skips.pop(), width, attention[level])
                channels = width
                if level > 0 and place == layers:
                    children.append(Upsample(channels))
                self.output_blocks.append(block(*children))
        self.out = nn.Sequential(nn.GroupNorm(32, channels), nn.SiLU(), nn.Conv2d(channels, 4, 3, padding=1))

    def forward(self, x, timesteps=None, context=None, y=None):
        emb = self.time_embed(timestep_embedding(timesteps, self.model_channels).to(x.dtype))
        skips, h = [], x
        for block in self.input_blocks:
            h = block(h, emb, context)
            skips.append(h)
        h = self.middle_block(h, emb, context)
        for block in self.output_blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), emb, context)
        return self.out(h)


_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_WHOLE = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}


def diffusers_name(name: str, layers: int = 2) -> str:
    """The name that diffusers and the official AnimateDiff code give to a parameter of `UNetModel`."""
    for ldm, other in _WHOLE.items():
        if name.startswith(f"{ldm}."):
            return name.replace(ldm, other)
    side, rest = name.split(".", 1)
    if side == "middle_block":
        place, rest = rest.split(".", 1)
        part = {"0": "resnets.0", "1": "attentions.0", "2": "resnets.1"}[place]
        return f"mid_block.{part}.{_inner(rest)}"
    index, child, rest = re.match(r"(\d+)\.(\d+)\.(.*)", rest).groups()
    if side == "input_blocks":
        level, place = divmod(int(index) - 1, layers + 1)
        if rest.startswith("op."):
            return f"down_blocks.{level}.downsamplers.0.{rest.replace('op.', 'conv.')}"
        return f"down_blocks.{level}.{'resnets' if child == '0' else 'attentions'}.{place}.{_inner(rest)}"
    level, place = divmod(int(index), layers + 1)
    if rest.startswith("conv."):
        return f"up_blocks.{level}.upsamplers.0.{rest}"
    return f"up_blocks.{level}.{'resnets' if child == '0' else 'attentions'}.{place}.{_inner(rest)}"


def _inner(rest: str) -> str:
    for ldm, other in _RESNET.items():
        if rest.startswith(f"{ldm}."):
            return rest.replace(ldm, other)
    return rest
