"""The official motion module, operation by operation as guoyww/AnimateDiff computes it (models/motion_module.py,
e92bd56).

What it is compared for: every attention turns its tokens around and back, the position term is added to them, q, k
and v are three products, and heads are folded into the batch. It reads its weights from one of our modules.

Axes: f frames, c channels, h height, w width, d = (h w) places; n heads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from animatediff_ext.motion.layers import TemporalSelfAttention, TemporalTransformer


class OfficialAttention(nn.Module):
    def __init__(self, ours: TemporalSelfAttention):
        super().__init__()
        self.heads = ours.num_heads
        self.pe = ours.pos_encoder.pe
        self.to_q, self.to_k, self.to_v = (_linear(weight) for weight in ours.to_qkv.weight.chunk(3))
        self.to_out = ours.to_out[0]

    def forward(self, x: torch.Tensor, num_frames: int) -> torch.Tensor:  # (b f) d c
        d = x.shape[1]
        x = rearrange(x, "(b f) d c -> (b d) f c", f=num_frames)
        x = x + self.pe[:, :num_frames]
        q, k, v = (rearrange(to(x), "b f (n c) -> (b n) f c", n=self.heads) for to in (self.to_q, self.to_k, self.to_v))
        scores = torch.baddbmm(
            torch.empty(q.shape[0], num_frames, num_frames, dtype=q.dtype, device=q.device),
            q,
            k.transpose(-1, -2),
            beta=0,
            alpha=q.shape[-1] ** -0.5,
        )
        x = torch.bmm(scores.softmax(dim=-1), v)
        x = self.to_out(rearrange(x, "(b n) f c -> b f (n c)", n=self.heads))
        return rearrange(x, "(b d) f c -> (b f) d c", d=d)


class OfficialModule(nn.Module):
    def __init__(self, ours: TemporalTransformer):
        super().__init__()
        (block,) = ours.transformer_blocks
        self.norm, self.proj_in, self.proj_out = ours.norm, ours.proj_in, ours.proj_out
        self.attentions = nn.ModuleList(OfficialAttention(attention) for attention in block.attention_blocks)
        self.norms, self.ff_norm = block.norms, block.ff_norm
        self.ff_in, self.ff_out = block.ff.net[0].proj, block.ff.net[2]

    def forward(self, x: torch.Tensor, num_frames: int) -> torch.Tensor:  # (b f) c h w
        _, c, h, w = x.shape
        residual = x
        x = self.norm(x).permute(0, 2, 3, 1).reshape(-1, h * w, c)
        x = self.proj_in(x)
        for norm, attention in zip(self.norms, self.attentions, strict=True):
            x = attention(norm(x), num_frames) + x
        value, gate = self.ff_in(self.ff_norm(x)).chunk(2, dim=-1)
        x = self.ff_out(value * F.gelu(gate)) + x
        x = self.proj_out(x)
        x = x.reshape(-1, h, w, c).permute(0, 3, 1, 2).contiguous()
        return x + residual


def _linear(weight: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device=weight.device, dtype=weight.dtype)
    layer.weight.data.copy_(weight)
    return layer
