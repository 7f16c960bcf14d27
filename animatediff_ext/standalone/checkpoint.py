"""One file of tensors under LDM's names, whatever it was wrapped in."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from animatediff_ext.formats.container import open_file
from animatediff_ext.standalone.ldm_layout import Part

UNET = "model.diffusion_model."
VAE = "first_stage_model."
CLIP = {"SD 1.5": "cond_stage_model.transformer.", "SDXL": "conditioner.embedders.0.transformer."}
OPEN_CLIP = "conditioner.embedders.1.model."


class Checkpoint:
    """A file that has been looked at; parts of it can be read."""

    def __init__(self, path: Path):
        file = open_file(path)
        self.path = path
        self._read = file.read
        self._stored = {_ldm_name(name): name for name in file.layout}
        self.layout = {name: file.layout[stored] for name, stored in self._stored.items()}

    def has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self.layout)

    def part(self, prefix: str) -> Part:
        return Part(self.path, self.layout, prefix)

    def read(self, prefix: str) -> dict[str, torch.Tensor]:
        """Tensors of a part, under their whole names."""
        names = [name for name in self.layout if name.startswith(prefix)]
        stored = self._read([self._stored[name] for name in names])
        return {name: stored[self._stored[name]] for name in names}


def _ldm_name(name: str) -> str:
    name = name.removeprefix("state_dict.")
    # the first merges of SD 1.5 were written by a transformers version that had one level less
    stem = CLIP["SD 1.5"]
    if name.startswith((f"{stem}embeddings.", f"{stem}encoder.", f"{stem}final_layer_norm.")):
        name = name.replace(stem, f"{stem}text_model.", 1)
    return name


def dropped(tensors: dict[str, torch.Tensor], state: dict[str, torch.Tensor]) -> Iterable[str]:
    """Names that a converter did not know: it takes what it knows and says nothing of the rest."""
    kept = {tensor.untyped_storage().data_ptr() for tensor in state.values()}
    return [name for name, tensor in tensors.items() if tensor.untyped_storage().data_ptr() not in kept]
