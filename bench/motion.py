"""Our motion module against the official arithmetic and against diffusers', forward, 16 frames, in one run.

    python -m bench.motion [--picture 512] [--rounds 5] [--device cuda --dtype float16]

The three take turns, round by round, with the same weights and input; their outputs are compared first. Printed are the
median time of ours, and the median over the rounds of what the others took in ratio to it (above 1: ours is faster). On
CUDA peak memory as well.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import nn

from animatediff_ext.motion.layers import TemporalTransformer
from animatediff_ext.motion.manner import Manner
from bench.official import OfficialModule

NUM_FRAMES = 16
STREAMS = 2  # a prompt and its negative
LEVELS = ((320, 8), (640, 16), (1280, 32))
"""Channels, and picture pixels per place, of the three widths of SD 1.5."""


def diffusers_module(ours: TemporalTransformer) -> AnimateDiffTransformer3D:
    channels = ours.norm.num_channels
    theirs = AnimateDiffTransformer3D(
        num_attention_heads=8,
        attention_head_dim=channels // 8,
        in_channels=channels,
        num_layers=1,
        norm_num_groups=32,
        activation_fn="geglu",
        attention_bias=False,
        double_self_attention=True,
        positional_embeddings="sinusoidal",
        num_positional_embeddings=32,
    )
    names = {"ff_norm": "norm3", "norms.0": "norm1", "norms.1": "norm2"}
    names |= {"attention_blocks.0": "attn1", "attention_blocks.1": "attn2"}
    state = {}
    for key, value in ours.state_dict().items():
        for official, name in names.items():
            key = key.replace(f"blocks.0.{official}.", f"blocks.0.{name}.")
        if "pos_encoder" not in key:
            state[key] = value
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert not unexpected
    assert all("pos_embed" in key for key in missing)
    return theirs


class PerFrameNorm(nn.Module):
    """diffusers normalises over the whole clip; the official code and ours over each frame."""

    def __init__(self, norm: nn.GroupNorm):
        super().__init__()
        self.norm = norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # b c f h w
        b, _, f, _, _ = x.shape
        x = x.transpose(1, 2).flatten(0, 1)
        return self.norm(x).unflatten(0, (b, f)).transpose(1, 2)


def contenders(channels: int, device: str, dtype: torch.dtype) -> dict[str, Callable]:
    torch.manual_seed(0)
    ours = TemporalTransformer(channels, num_heads=8, num_positions=32)
    nn.init.normal_(ours.proj_out.weight, std=channels**-0.5)
    theirs = diffusers_module(ours)
    exact = diffusers_module(ours)
    exact.norm = PerFrameNorm(exact.norm)
    modules = {
        "ours": ours,
        "official": OfficialModule(ours),
        "diffusers": theirs,
        "diffusers, right norm": exact,
    }
    for module in modules.values():
        module.to(device=device, dtype=dtype).eval()
    return {
        name: partial(module, num_frames=NUM_FRAMES)
        if name != "ours"
        else partial(module, manner=Manner(num_frames=NUM_FRAMES))
        for name, module in modules.items()
    }


def seconds(run: Callable, x: torch.Tensor) -> tuple[float, int]:
    """Time of one call, and the peak memory above what was in use, in bytes (CUDA only)."""
    cuda = x.is_cuda
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    start = time.perf_counter()
    run(x)
    if cuda:
        torch.cuda.synchronize()
    elapsed = time.perf_counter() - start
    return elapsed, torch.cuda.max_memory_allocated() - before if cuda else 0


@torch.inference_mode()
def compare(channels: int, side: int, args: argparse.Namespace) -> None:
    dtype = getattr(torch, args.dtype)
    runs = contenders(channels, args.device, dtype)
    x = torch.randn(STREAMS * NUM_FRAMES, channels, side, side, device=args.device, dtype=dtype)
    reference = runs["official"](x)
    for name, run in runs.items():
        if name != "diffusers":  # whose norm differs; timed as it is, since that is what its users run
            tolerance = 1e-4 if dtype == torch.float32 else 3e-2
            torch.testing.assert_close(run(x), reference, atol=tolerance, rtol=tolerance)
    times: dict[str, list[float]] = {name: [] for name in runs}
    peaks: dict[str, int] = {}
    for _ in range(args.rounds):
        for name, run in runs.items():
            elapsed, peaks[name] = seconds(run, x)
            times[name].append(elapsed)
    ours = times.pop("ours")
    ratios = "  ".join(
        f"{name} {statistics.median(theirs / our for theirs, our in zip(values, ours, strict=True)):5.2f}x"
        for name, values in times.items()
    )
    memory = "  ".join(f"{name} {value / 2**20:.0f}" for name, value in peaks.items()) if x.is_cuda else ""
    line = f"C={channels:<5} {side}x{side}  ours {statistics.median(ours) * 1000:8.1f} ms   {ratios}"
    print(f"{line}   MiB: {memory}" if memory else line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default=None, help="float32 on a CPU, float16 on CUDA by default")
    parser.add_argument("--picture", type=int, default=None, help="side of the picture; 256 on a CPU, 512 on CUDA")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    on_cuda = args.device.startswith("cuda")
    args.dtype = args.dtype or ("float16" if on_cuda else "float32")
    args.picture = args.picture or (512 if on_cuda else 256)
    print(f"{args.device}, {args.dtype}, {args.picture}x{args.picture} pictures, {STREAMS}x{NUM_FRAMES} frames")
    for channels, pixels in LEVELS:
        compare(channels, args.picture // pixels, args)


if __name__ == "__main__":
    main()
