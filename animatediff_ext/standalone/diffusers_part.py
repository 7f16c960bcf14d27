"""One part of a diffusers pipeline: a folder with ``config.json`` and weights."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn

from animatediff_ext.standalone.assemble import check_complete
from animatediff_ext.standalone.error import SpatialModelError


def load_part(kind: type[nn.Module], folder: Path) -> nn.Module:
    """One part of a pipeline, from this disk only, with every parameter accounted for."""
    where = f"{folder.parent.name}/{folder.name}"
    if not (folder / "config.json").is_file():
        raise SpatialModelError(f"{where} has no config.json: download the whole folder again.")
    try:
        with torch.random.fork_rng(devices=[]):  # some versions draw weights before they replace them
            model, found = kind.from_pretrained(
                folder,
                local_files_only=True,
                variant=_variant(folder),
                output_loading_info=True,
                low_cpu_mem_usage=False,  # the other way needs a package more
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise SpatialModelError(f"{where} cannot be loaded ({reason}): download the folder again.") from error
    check_complete(found["missing_keys"], found["unexpected_keys"], folder, kind.__name__)
    return model


def _variant(folder: Path) -> str | None:
    """``fp16`` where only files of that name are there."""
    weights = [file.name for file in folder.iterdir() if file.suffix in (".safetensors", ".bin")]
    return "fp16" if weights and all(".fp16" in name for name in weights) else None
