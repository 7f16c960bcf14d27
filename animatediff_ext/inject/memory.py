"""Whether a whole clip fits into memory at once: a careful guess, since nobody can know before it is tried."""

from __future__ import annotations

import os

import torch
from torch import nn

from animatediff_ext.inject.sites import sites_of

TENSORS_AT_ONCE = 40
"""Of a row, as large as those of the UNet's first level. From the 5.6 and 4.2 GB that sd-webui-animatediff's page on
performance gives for 32 and 16 rows of 512x512 in float16 (models taken off) follow 31 and 29."""
SHARE_TO_USE = 0.8


def free_bytes(device: torch.device) -> int | None:
    """What can still be had, with what PyTorch holds in reserve; None where nobody says."""
    if device.type == "cuda":
        reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserve
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    if device.type == "cpu" and hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def bytes_of_call(unet: nn.Module, *, num_rows: int, height: int, width: int, dtype: torch.dtype) -> int:
    """What a call of the UNet takes at its peak, beside the weights; height and width are of the latent."""
    channels = next(iter(sites_of(unet))).channels
    return TENSORS_AT_ONCE * num_rows * channels * height * width * dtype.itemsize


def fits(unet: nn.Module, *, device: torch.device, dtype: torch.dtype, **call: int) -> bool:
    """Whether a call with ``num_rows``, ``height`` and ``width`` can be made, as far as one can tell."""
    free = free_bytes(device)
    return free is not None and bytes_of_call(unet, dtype=dtype, **call) <= SHARE_TO_USE * free
