"""Where a job computes, and in which number format."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from animatediff_ext.setting import SettingsError


def device_of(name: str, local_rank: int = 0) -> torch.device:
    """``auto`` and ``cuda`` are the GPU of this process. Raises `SettingsError` for what this machine lacks."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device("cuda", local_rank) if name == "cuda" else torch.device(name)
    except RuntimeError as error:
        raise SettingsError(f"device is {name!r}: give auto, cpu, cuda, cuda:1 or mps.") from error
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        advice = f"it has {count}, so start at most as many processes" if count else "give cpu, or install CUDA's torch"
        raise SettingsError(f"This machine has no GPU {device.index or 0} for torch: {advice}.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise SettingsError("device is mps, which this machine has not: give cpu.")
    return device


def idle_gpu() -> str | None:
    """What to do about a GPU that this torch cannot use; None where there is none."""
    has_cuda = torch.version.cuda or torch.version.hip or torch.cuda.is_available()
    if has_cuda or shutil.which("nvidia-smi") is None:
        return None
    return (
        "There is an NVIDIA GPU, but this computes on the CPU, since torch was built for that alone: install the build "
        "for the GPU (https://pytorch.org/get-started/locally)."
    )


def dtype_of(name: str, device: torch.device) -> torch.dtype:
    """``auto`` is float16, but on a CPU, which is slow with it, float32."""
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    return getattr(torch, name)


@contextmanager
def visiting(device: torch.device, *modules: nn.Module) -> Iterator[None]:
    """Modules on a device for a while; then they are back where they were."""
    homes = [next(module.parameters()).device for module in modules]
    try:
        for module in modules:
            module.to(device)
        yield
    finally:
        for module, home in zip(modules, homes, strict=True):
            module.to(home)
