"""A module from its configuration and its tensors, with every parameter accounted for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import nn

from animatediff_ext.standalone.error import SpatialModelError


def assembled(make: Callable[[], nn.Module], state: Mapping[str, torch.Tensor], path: Path, part: str) -> nn.Module:
    """The module that ``make()`` describes, holding the tensors of ``state`` themselves.

    Neither time nor random numbers are spent on weights that are replaced at once. Raises `SpatialModelError` where a
    tensor is missing, left over, or of another shape; ``path`` and ``part`` are for its message.
    """
    with torch.device("meta"):
        model = make()
    try:
        missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
    except RuntimeError as error:  # shapes: one line for each tensor, after a headline
        raise SpatialModelError.about(path, f"has a {part} of an unknown layout: {_last_line(error)}") from error
    check_complete(missing, unexpected, path, part)
    _number_positions(model)
    return model


def check_complete(missing: Iterable[str], unexpected: Iterable[str], path: Path, part: str) -> None:
    """Raises `SpatialModelError` unless both are empty, but for what has no effect."""
    unknown = [name for name in unexpected if not _has_no_effect(name)]
    for names, problem in ((list(missing), "lacks"), (unknown, "has unknown")):
        if names:
            raise SpatialModelError.about(
                path,
                f"{problem} tensors of the {part} ({_some(names)}): it is damaged or of an unknown layout. "
                "Download it again, or give another one.",
            )


def _has_no_effect(name: str) -> bool:
    """Tensors that some files have of a text encoder: the numbers 0, 1, 2, …; the mask that hides later tokens; a scale
    that only CLIP's training uses; a projection that SD 1.5 does not use."""
    return name.endswith(("position_ids", "attn_mask", "logit_scale")) or name == "text_projection.weight"


def _some(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()


def _number_positions(model: nn.Module) -> None:
    """CLIP's position numbers are a buffer that no file needs to have, so they are still without values."""
    for module in model.modules():
        if hasattr(module, "position_ids") and module.position_ids.is_meta:
            module.position_ids = torch.arange(module.position_ids.shape[-1]).unsqueeze(0)
