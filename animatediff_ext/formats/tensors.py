"""Tensors → one safetensors file, which appears under its name only when it is whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from animatediff_ext.whole_file import whole_file

_OF_SYSTEM = re.compile(r"\(os error (\d+)\)")


def write_tensors(tensors: Mapping[str, torch.Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Tensors share no memory, and lie one value after the other. Raises `OSError` where the disk is full."""
    with whole_file(path) as part:
        try:
            save_file(dict(tensors), str(part), metadata=dict(metadata))
        except SafetensorError as error:  # what the system refused is in its text alone
            number = _OF_SYSTEM.search(str(error))
            if number is None:
                raise
            # Windows has numbers of its own, from which the fourth argument derives the usual ones; others ignore it.
            raise OSError(int(number[1]), str(error), str(path), int(number[1])) from error
