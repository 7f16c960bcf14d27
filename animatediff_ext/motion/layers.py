"""The layers of a motion module, with the official names and numerics (guoyww/AnimateDiff, models/motion_module.py).

Axes: s streams (clips in one call), f frames, c channels, h height, w width; n heads, d channels of a head;
b = (s h w), every place of every clip: attention runs along f, and places never see each other.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn
from torch.utils.checkpoint import checkpoint

from animatediff_ext.motion.families import Span
from animatediff_ext.motion.manner import Manner
from animatediff_ext.motion.positions import PositionTable

MAX_ATTENTION_ROWS = 65_535
"""CUDA launches attention with one grid row per batch entry and allows 65,535 of them; a large frame has more
places."""


def clip_of_frames(x: torch.Tensor, num_frames: int) -> torch.Tensor:
    """``(s f) c h w`` → ``s c (f h) w``: a group norm of the result takes its statistics over all frames of a clip."""
    return rearrange(x, "(s f) c h w -> s c (f h) w", f=num_frames)


def frames_of_clip(x: torch.Tensor, num_frames: int) -> torch.Tensor:
    """The inverse of `clip_of_frames`."""
    return rearrange(x, "s c (f h) w -> (s f) c h w", f=num_frames)


CHUNK_TOKENS = {"cpu": 2_048, "cuda": 32_768}
"""Tokens that go through a transformer at once, by kind of device. The feed-forward holds 12 channels per channel of a
token, so this bounds the peak memory. A CPU is fastest when a chunk stays in its caches (bench/motion.py: a quarter
less time at 320 channels than in one piece); a GPU needs large products to be busy."""


def chunk_rows(device: torch.device, num_frames: int) -> int:
    """How many places of ``num_frames`` tokens each go through a transformer at once."""
    tokens = CHUNK_TOKENS.get(device.type, CHUNK_TOKENS["cuda"])
    return min(MAX_ATTENTION_ROWS, max(1, tokens // num_frames))


class JointProjection(nn.Module):
    """q, k and v as one product. A state dict has them as the three weights that every file of this kind has."""

    PARTS = ("to_q", "to_k", "to_v")

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(3 * channels, channels))
        nn.init.uniform_(self.weight, -(channels**-0.5), channels**-0.5)  # as nn.Linear does

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # With weights in FP8 and --precision full, the WebUI's norms give float32 to weights of half precision, and
        # its own linear layers take that; this is none of those. Under autocast, x comes as the product wants it.
        return F.linear(x.to(self.weight.dtype), self.weight)

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        weight = self.weight if keep_vars else self.weight.detach()
        attention = prefix.removesuffix("to_qkv.")
        destination.update(
            {f"{attention}{part}.weight": w for part, w in zip(self.PARTS, weight.chunk(3), strict=True)}
        )


class TemporalSelfAttention(nn.Module):
    """Every frame attends to every frame, at one place of the picture.

    The position term is added to the input of q, k *and* v. Since (h + p) W = h W + p W, it is one bias per frame.
    """

    def __init__(self, channels: int, num_heads: int, num_positions: int):
        super().__init__()
        self.num_heads = num_heads
        self.to_qkv = JointProjection(channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])
        self.pos_encoder = PositionTable(num_positions, channels)

    def forward(self, x: torch.Tensor, manner: Manner) -> torch.Tensor:
        qkv = self.to_qkv(x)  # b f 3c
        attended = self._in_views(qkv, manner) if manner.views else self._attended(qkv, manner)
        return self.to_out[0](attended)

    def _attended(self, qkv: torch.Tensor, manner: Manner) -> torch.Tensor:
        qkv += self.to_qkv(self.pos_encoder(qkv.shape[1], manner.positions))
        q, k, v = rearrange(qkv, "b f (three n d) -> three b n f d", three=3, n=self.num_heads)
        scale = manner.key_scale(k)
        x = F.scaled_dot_product_attention(q, k if scale is None else k * scale, v)  # b n f d
        return rearrange(x, "b n f d -> b f (n d)")

    def _in_views(self, qkv: torch.Tensor, manner: Manner) -> torch.Tensor:
        """Attention within each view, where positions begin anew, and the weighted mean of what overlaps (FreeNoise,
        Qiu et al., arXiv 2310.15169). Projections are linear, so they run once for all views."""
        fused = qkv.new_zeros(*qkv.shape[:2], qkv.shape[2] // 3)
        for frames, index, weights in manner.views_like(qkv):
            with manner.only(frames):
                attended = self._attended(qkv[:, index], manner)  # b f c
            fused.index_add_(1, index, attended * weights)
        return fused

    def _load_from_state_dict(self, state_dict, prefix, *args):
        names = [f"{prefix}{part}.weight" for part in JointProjection.PARTS]
        if all(name in state_dict for name in names):  # what is put here is handed on to `to_qkv`
            state_dict[f"{prefix}to_qkv.weight"] = torch.cat([state_dict.pop(name) for name in names])
        super()._load_from_state_dict(state_dict, prefix, *args)


class GEGLU(nn.Module):
    """Gated linear unit with GELU (Shazeer, arXiv 2002.05202)."""

    def __init__(self, channels: int, inner: int):
        super().__init__()
        self.proj = nn.Linear(channels, 2 * inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return F.gelu(gate).mul_(value)


class FeedForward(nn.Module):
    """Numbered 0 and 2 in files, with a dropout between them that never acts."""

    def __init__(self, channels: int):
        super().__init__()
        self.net = nn.ModuleList([GEGLU(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.net:
            x = layer(x)
        return x


class TemporalTransformerBlock(nn.Module):
    """Attention over frames, twice in every known family, then a feed-forward; each with its residual."""

    def __init__(self, channels: int, num_heads: int, num_positions: int, num_attentions: int):
        super().__init__()
        self.attention_blocks = nn.ModuleList(
            TemporalSelfAttention(channels, num_heads, num_positions) for _ in range(num_attentions)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(num_attentions))
        self.ff = FeedForward(channels)
        self.ff_norm = nn.LayerNorm(channels)

    def forward(self, x: torch.Tensor, manner: Manner) -> torch.Tensor:  # b f c
        # A linear layer does not need its own output for its gradient, so the residual may be added in place.
        for norm, attention in zip(self.norms, self.attention_blocks, strict=True):
            x = attention(norm(x), manner).add_(x)
        return self.ff(self.ff_norm(x)).add_(x)


class TemporalTransformer(nn.Module):
    """The motion module proper: ``(s f) c h w`` in, the same shape out, residual included."""

    def __init__(
        self,
        channels: int,
        *,
        num_heads: int,
        num_positions: int,
        num_attentions: int = 2,
        num_layers: int = 1,
        num_groups: int = 32,
        norm_span: Span = "frame",
    ):
        super().__init__()
        self.norm_span = norm_span
        self.gradient_checkpointing = False
        self.norm = nn.GroupNorm(num_groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(
            TemporalTransformerBlock(channels, num_heads, num_positions, num_attentions) for _ in range(num_layers)
        )
        self.proj_out = nn.Linear(channels, channels)
        # A new module starts as the identity, so that training begins at the image model (paper, section 4.2).
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(self, x: torch.Tensor, manner: Manner) -> torch.Tensor:
        (h, w), num_frames = x.shape[-2:], manner.num_frames
        tokens = rearrange(self._normalise(x, num_frames), "(s f) c h w -> (s h w) f c", f=num_frames)
        rows = chunk_rows(x.device, num_frames)
        parts = [self._part(part, manner) for part in tokens.split(rows)]  # places are independent of each other
        tokens = parts[0] if len(parts) == 1 else torch.cat(parts)
        return x + rearrange(tokens, "(s h w) f c -> (s f) c h w", h=h, w=w)

    def _normalise(self, x: torch.Tensor, num_frames: int) -> torch.Tensor:
        if self.norm_span == "frame":
            return self.norm(x)
        return frames_of_clip(self.norm(clip_of_frames(x, num_frames)), num_frames)

    def _part(self, tokens: torch.Tensor, manner: Manner) -> torch.Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(self._transform, tokens, manner, use_reentrant=False)
        return self._transform(tokens, manner)

    def _transform(self, tokens: torch.Tensor, manner: Manner) -> torch.Tensor:
        tokens = self.proj_in(tokens)  # b f c
        for block in self.transformer_blocks:
            tokens = block(tokens, manner)
        return self.proj_out(tokens)
