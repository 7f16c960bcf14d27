"""The number format in which motion modules compute."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def own_precision(device_type: str, weights: torch.dtype) -> AbstractContextManager:
    """Within, modules with ``weights`` of half precision compute in it throughout.

    The WebUI samples under autocast, which takes norms in float32: casts to and fro, and copies of twice the size. A
    trainer has its weights in float32 and leaves the rest to autocast; there nothing changes. Nor does it where
    gradients are wanted: a LoRA that is trained beside a module in half precision has its weights in float32, too.
    """
    if weights in (torch.float16, torch.bfloat16) and _is_autocast(device_type) and not torch.is_grad_enabled():
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def _is_autocast(device_type: str) -> bool:
    """No host uses autocast on other devices, and some versions of torch refuse the question."""
    if device_type not in ("cuda", "cpu"):
        return False
    if hasattr(torch, "get_autocast_dtype"):
        return torch.is_autocast_enabled(device_type)
    # before torch 2.4 each kind of device has a function of its own
    return torch.is_autocast_enabled() if device_type == "cuda" else torch.is_autocast_cpu_enabled()
