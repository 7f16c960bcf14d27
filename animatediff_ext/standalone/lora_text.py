"""The part of a LoRA that is for text encoders, which `formats.load_lora` leaves out.

=========  =======================================================================================
kohya      lora_te_text_model_…_self_attn_q_proj.lora_down.weight with .alpha; SDXL lora_te1_, lora_te2_
diffusers  text_encoder.text_model.….self_attn.q_proj.lora_A.weight, earlier ….lora_linear_layer.down.weight;
           SDXL text_encoder_2. as well
=========  =======================================================================================
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

import torch

from animatediff_ext.formats import FormatError
from animatediff_ext.formats.container import TensorFile
from animatediff_ext.formats.lora_file import Matrices, flat

PREFIXES = ("text_encoder", "text_encoder_2")
"""What comes before the names of the layers, by number of the encoder."""

_TEXT = re.compile(r"(?:^|\.)(?:lora_te(?P<kohya>[12]?)_|text_encoder(?P<diffusers>_2)?\.)(?P<rest>.+)")
_MATRIX = re.compile(r"(?P<layer>.+?)[._](?:lora|lora_linear_layer)[._](?P<role>down|up|A|B)(?:\.\w+)?\.weight")
_ALPHA = re.compile(r"(?P<layer>.+)\.alpha")
_ROLES = {"down": "down", "up": "up", "A": "down", "B": "up"}


def is_for_text(name: str) -> bool:
    return _TEXT.search(name) is not None


def text_matrices(file: TensorFile) -> dict[str, Matrices]:
    """The matrices by flat name of the layer, behind one of `PREFIXES`; alpha / rank is in ``up``.

    Raises `FormatError` for what is not only pairs of matrices.
    """
    names = {name: _parsed(file, name) for name in file.layout if is_for_text(name)}
    tensors = file.read(list(names))
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for name, (layer, role) in names.items():
        parts.setdefault(layer, {})[role] = tensors[name]
    peft = _peft_settings(file)
    return {layer: _pair(file, layer, found, peft) for layer, found in parts.items()}


def _parsed(file: TensorFile, name: str) -> tuple[str, str]:
    """Flat name of the layer, and down, up or alpha."""
    text = _TEXT.search(name)
    prefix = PREFIXES[text["kohya"] == "2" or text["diffusers"] is not None]
    if match := _MATRIX.fullmatch(text["rest"]):
        return f"{prefix}_{flat(match['layer'])}", _ROLES[match["role"]]
    if match := _ALPHA.fullmatch(text["rest"]):
        return f"{prefix}_{flat(match['layer'])}", "alpha"
    raise FormatError.about(
        file.path,
        f"has {name} in it, which is not one of a LoRA's two matrices: LyCORIS (LoHa, LoKr …), DoRA and whole weights "
        "are not supported. Get it as a plain LoRA.",
    )


def _pair(file: TensorFile, layer: str, parts: Mapping[str, torch.Tensor], peft: Mapping) -> Matrices:
    if "down" not in parts or "up" not in parts or parts["down"].shape[0] != parts["up"].flatten(1).shape[1]:
        raise FormatError.about(file.path, f"has no two matrices for {layer} that fit each other: download it again.")
    down, up = parts["down"].flatten(1), parts["up"].flatten(1)
    rank = down.shape[0]
    if "alpha" in parts:
        return down, up.float() * (parts["alpha"].item() / rank)
    prefix = max((p for p in PREFIXES if layer.startswith(f"{p}_")), key=len)
    alpha = _peft_alpha(peft, prefix, layer.removeprefix(f"{prefix}_"))
    if alpha is None:
        return down, up
    return down, up.float() * (alpha / (math.sqrt(rank) if peft.get(f"{prefix}.use_rslora") else rank))


def _peft_settings(file: TensorFile) -> dict:
    """diffusers: loaders/lora_base.py, LORA_ADAPTER_METADATA_KEY; in files without it alpha is the rank."""
    try:
        return dict(json.loads(file.metadata.get("lora_adapter_metadata", "{}")))
    except (ValueError, TypeError) as error:
        raise FormatError.about(
            file.path, f"comes with settings of PEFT that cannot be read ({error}): download it again."
        ) from error


def _peft_alpha(peft: Mapping, prefix: str, layer: str) -> float | None:
    """That of the layer, where one is named by the end of its name; else that of all."""
    for name, alpha in (peft.get(f"{prefix}.alpha_pattern") or {}).items():
        if layer.endswith(flat(name)):
            return alpha
    return peft.get(f"{prefix}.lora_alpha")
