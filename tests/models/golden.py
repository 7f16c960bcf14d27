"""Weights made from names, as the golden outputs of the official code were made."""

import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

GOLDEN = Path(__file__).parent.parent / "golden" / "official_unet.safetensors"


def golden_cases() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN)


def named_weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    random = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF).standard_normal(shape).astype(np.float32)
    if len(shape) >= 2:
        random /= np.sqrt(np.prod(shape[1:])).astype(np.float32)
    elif name.endswith("weight"):
        random = 1 + np.float32(0.1) * random
    else:
        random = np.float32(0.05) * random
    return torch.from_numpy(random)


def fill_by_name(model: nn.Module, rename=lambda name: name) -> nn.Module:
    """Give every parameter the weight of its (official) name; position tables keep to their formula."""
    state = {
        key: value if key.endswith(".pe") else named_weight(rename(key), value.shape)
        for key, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    return model.eval()


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return ((actual - expected).abs().max() / expected.abs().max()).item()
