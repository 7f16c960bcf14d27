"""Small tensors of known numbers, made once: each copy to a GPU waits for all that it still has to do."""

from __future__ import annotations

from functools import lru_cache

import torch


@lru_cache(maxsize=512)
def constant(values: tuple[float | int, ...], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """``(n,)``. Do not write into it."""
    with torch.inference_mode(False):  # one that is made for sampling may be used in training too
        return torch.tensor(values, device=device, dtype=dtype)
