"""Weights on another device for a while."""

from __future__ import annotations

import torch
from torch import nn


class Placement:
    """Puts a copy of a module's weights where they are needed, and drops it again.

    The originals stay where they are: going back costs neither a transfer nor memory.
    """

    def __init__(self, module: nn.Module):
        self._module = module
        self._originals: list[tuple[dict, str, torch.Tensor]] = []

    @property
    def is_away(self) -> bool:
        return bool(self._originals)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> None:
        """Replace every floating-point weight by its copy on ``device``, in ``dtype``."""
        self.back()
        for module in self._module.modules():
            for table in (module._parameters, module._buffers):  # `.data` of some devices' tensors cannot be exchanged
                for name, tensor in table.items():
                    if tensor is not None and tensor.is_floating_point():
                        self._originals.append((table, name, tensor))
                        table[name] = _copied(tensor, device, dtype)

    def back(self) -> None:
        """Give every weight back its original."""
        while self._originals:
            table, name, tensor = self._originals.pop()
            table[name] = tensor


def _copied(tensor: torch.Tensor, device: torch.device | str, dtype: torch.dtype) -> torch.Tensor:
    copy = tensor.detach().to(device=device, dtype=dtype)
    return nn.Parameter(copy, requires_grad=False) if isinstance(tensor, nn.Parameter) else copy
