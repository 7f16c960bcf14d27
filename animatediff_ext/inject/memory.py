"""Whether a whole clip fits into memory at once: a careful guess, since nobody can know before it is tried."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path

import torch
from torch import nn

from animatediff_ext.inject.sites import sites_of

TENSORS_AT_ONCE = 40
"""Of a row, as large as those of the UNet's first level. From the 5.6 and 4.2 GB that sd-webui-animatediff's page on
performance gives for 32 and 16 rows of 512x512 in float16 (models taken off) follow 31 and 29."""
TENSORS_OF_GUESTS = 6
"""More, where ControlNets work within the call: the sum of what they give waits for the UNet, which is as much as its
skips (5.1 in Stable Diffusion 1.5). What one of them needs meanwhile is gone when the UNet begins."""
SHARE_TO_USE = 0.8


def free_bytes(device: torch.device) -> int | None:
    """What can still be had, with what PyTorch holds in reserve; None where nobody says."""
    if device.type == "cuda":
        # before torch 2.5 it has to be a number
        index = torch.cuda.current_device() if device.index is None else device.index
        reserve = torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index)
        return torch.cuda.mem_get_info(index)[0] + reserve
    if device.type == "mps" and hasattr(torch.mps, "recommended_max_memory"):  # torch 2.5
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return _free_in_main_memory() if device.type == "cpu" else None


def _free_in_main_memory() -> int | None:
    """With what the system would give back from its cache of files."""
    facts = Path("/proc/meminfo")
    available = re.search(r"^MemAvailable:\s*(\d+) kB", facts.read_text(), re.M) if facts.is_file() else None
    if available:
        return 1024 * int(available[1])
    if "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", ()):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def bytes_of_call(
    unet: nn.Module, *, num_rows: int, height: int, width: int, dtype: torch.dtype, has_guests: bool = False
) -> int:
    """What a call of the UNet takes at its peak, beside the weights; height and width are of the latent."""
    channels = next(iter(sites_of(unet))).channels
    num_tensors = TENSORS_AT_ONCE + (TENSORS_OF_GUESTS if has_guests else 0)
    return num_tensors * num_rows * channels * height * width * dtype.itemsize


def bytes_to_come(models: Iterable[nn.Module], device: torch.device, dtype: torch.dtype) -> int:
    """Of weights that are not on the device yet, and will be: those of the WebUI's ``--medvram``, for one."""
    weights = [parameter for model in models for parameter in model.parameters()]
    return sum(weight.numel() * dtype.itemsize for weight in weights if weight.device.type != device.type)


def fits(
    unet: nn.Module,
    others: Iterable[nn.Module] = (),
    *,
    guests: Collection[nn.Module] = (),
    device: torch.device,
    dtype: torch.dtype,
    **call: int,
) -> bool:
    """Whether a call with ``num_rows``, ``height`` and ``width`` can be made with these models, as far as one can tell.
    ``guests`` are models of others that work within the call."""
    free = free_bytes(device)
    if free is None:
        return False
    needed = bytes_of_call(unet, dtype=dtype, has_guests=bool(guests), **call)
    needed += bytes_to_come((unet, *others, *guests), device, dtype)
    return needed <= SHARE_TO_USE * free
