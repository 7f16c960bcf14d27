"""Files of low-rank matrices (LoRA): motion LoRAs, domain adapters, and those for images.

========  =============================================================================================
official  …attention_blocks.0.processor.to_q_lora.down.weight, also MotionDirector's to_out.processor.0_lora
diffusers …attn1.to_q.lora_A.weight, …attn1.to_q.lora.down.weight
kohya     lora_unet_…_attention_blocks_0_to_q.lora_down.weight with .alpha, which the WebUI's <lora:…> reads
========  =============================================================================================

A layer is found by its flat name, its dotted name with underscores, since kohya's spelling has no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file

from animatediff_ext.formats.container import open_file
from animatediff_ext.formats.error import FormatError
from animatediff_ext.formats.kind import kind_of
from animatediff_ext.whole_file import whole_file

Matrices = tuple[torch.Tensor, torch.Tensor]
"""down ``(rank, in)`` and up ``(out, rank)``; alpha / rank is in ``up``."""

_WITH_LORA = ("motion-lora", "domain-adapter", "lora")
_START = re.compile(r"(?:^|.*?[._])(?=(?:down_blocks|up_blocks|mid_block)[._])")
_ROLES = {"down": "down", "up": "up", "A": "down", "B": "up"}
_PROCESSOR = re.compile(r"(?P<layer>.+)\.processor\.(?P<last>\w+)_lora\.(?P<role>down|up)\.weight")
_PLAIN = re.compile(r"(?P<layer>.+?)\.lora(?:_linear_layer)?[._](?P<role>down|up|A|B)(?:\.default)?\.weight")


@dataclass(frozen=True, kw_only=True)
class LoraFile:
    """The low-rank matrices of one file."""

    path: Path
    kind: str
    """``motion-lora``, ``domain-adapter`` or ``lora`` (`animatediff_ext.formats.kind`)."""
    matrices: Mapping[str, Matrices]
    """By flat name of the layer."""
    metadata: Mapping[str, str] = field(default_factory=dict)

    def for_layers(self, names: Iterable[str]) -> dict[str, Matrices]:
        """The matrices of those layers, by dotted name, that the file has any for.

        Those for a middle block that a motion module lacks are left out: official motion LoRAs were made for v2, and
        work on v1 and v3 so. Raises `FormatError` if there are none for any layer, or some for layers that are not
        there.
        """
        dotted = {flat(name): name for name in names}
        found = {dotted[name]: pair for name, pair in self.matrices.items() if name in dotted}
        strange = [name for name in self.matrices if name not in dotted and not name.startswith("mid_block")]
        if strange or not found:
            example = (strange or list(self.matrices))[0]
            raise FormatError.about(
                self.path,
                f"has matrices for layers that are not in this model, {example} among them: it was made for another "
                "kind of model; choose the file, or the model, that belongs together.",
            )
        return found


def flat(name: str) -> str:
    """``….attn1.to_out.0`` → ``…_attn1_to_out_0``, as kohya spells layers."""
    return name.replace(".", "_")


def load_lora(path: str | Path) -> LoraFile:
    """Reads a LoRA in any of the spellings above; alpha is multiplied in. Raises `FormatError` for other files."""
    file = open_file(path)
    kind = kind_of(file.layout)
    if kind.name not in _WITH_LORA:
        raise FormatError.about(file.path, f"is {kind.what}, not a LoRA. {kind.belongs}".rstrip())
    tensors = file.read(list(file.layout))
    pairs: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        layer, role = _layer_and_role(name)
        if layer:
            pairs.setdefault(layer, {})[role] = tensor
    matrices = {layer: _matrices(file.path, layer, pair) for layer, pair in pairs.items() if pair.keys() != {"alpha"}}
    if not matrices:
        raise FormatError.about(file.path, "has low-rank matrices in a spelling that is not known here.")
    return LoraFile(path=file.path, kind=kind.name, matrices=matrices, metadata=file.metadata)


def _layer_and_role(name: str) -> tuple[str, str]:
    """Flat name of the layer and down, up or alpha; two empty strings where the name is of something else."""
    if not _START.match(name):
        return "", ""
    name = _START.sub("", name, count=1)
    if match := _PROCESSOR.fullmatch(name):
        return _usual(f"{match['layer']}.{match['last']}"), match["role"]
    if match := _PLAIN.fullmatch(name):
        return _usual(match["layer"]), _ROLES[match["role"]]
    if name.endswith(".alpha"):
        return _usual(name.removesuffix(".alpha")), "alpha"
    return "", ""


def _usual(layer: str) -> str:
    """Flat, with the official names of the temporal layers."""
    name = flat(layer)
    name = re.sub(r"_to_out$", "_to_out_0", name)
    name = re.sub(r"(motion_modules_\d+)_(?!temporal_transformer_)", r"\1_temporal_transformer_", name)
    return re.sub(
        r"(temporal_transformer_transformer_blocks_\d+)_attn(\d)_",
        lambda match: f"{match[1]}_attention_blocks_{int(match[2]) - 1}_",
        name,
    )


def _matrices(path: Path, layer: str, pair: dict[str, torch.Tensor]) -> Matrices:
    if not {"down", "up"} <= pair.keys():
        raise FormatError.about(path, f"has only one of two matrices for {layer}: download it again.")
    down, up = pair["down"], pair["up"]
    if down.ndim > 2:  # a convolution of 1×1 stands in for a linear layer
        down, up = down.flatten(1), up.flatten(1)
    if down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1]:
        raise FormatError.about(
            path, f"has matrices of {tuple(down.shape)} and {tuple(up.shape)} for {layer}, which do not fit."
        )
    alpha = pair.get("alpha")
    return down, up if alpha is None else up * (alpha.item() / down.shape[0])


Spelling = Literal["official", "webui"]


def save_lora(
    matrices: Mapping[str, Matrices],
    path: str | Path,
    *,
    spelling: Spelling = "official",
    dtype: torch.dtype = torch.float16,
    metadata: dict[str, str] | None = None,
) -> None:
    """Writes one safetensors file; ``matrices`` by the layers' dotted names. It appears only when it is whole.

    ``webui`` is kohya's spelling. The official spelling knows no alpha, so the scale has to be in ``up`` already.
    """
    tensors = {}
    for name, pair in matrices.items():
        tensors |= _SPELLINGS[spelling](name, *pair)
    tensors = {name: tensor.detach().to("cpu", dtype, copy=True).contiguous() for name, tensor in tensors.items()}
    with whole_file(Path(path)) as part:
        save_file(tensors, str(part), metadata={"format": "pt"} | (metadata or {}))


def _official(name: str, down: torch.Tensor, up: torch.Tensor) -> dict[str, torch.Tensor]:
    parent, _, layer = name.removesuffix(".0").rpartition(".")
    return {
        f"{parent}.processor.{layer}_lora.down.weight": down,
        f"{parent}.processor.{layer}_lora.up.weight": up,
    }


def _webui(name: str, down: torch.Tensor, up: torch.Tensor) -> dict[str, torch.Tensor]:
    layer = f"lora_unet_{flat(name)}"
    return {
        f"{layer}.lora_down.weight": down,
        f"{layer}.lora_up.weight": up,
        f"{layer}.alpha": torch.tensor(float(down.shape[0])),
    }


_SPELLINGS = {"official": _official, "webui": _webui}
