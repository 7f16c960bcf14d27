"""Files of low-rank matrices (LoRA): motion LoRAs, domain adapters, and those for images.

==============  =======================================================================================
official        ….attention_blocks.0.processor.to_q_lora.down.weight
MotionDirector  ….attention_blocks.0.to_out.processor.0_lora.down.weight, ….ff.net.0.proj_lora.down.weight
diffusers       ….attn1.to_q.lora_A.weight, earlier ….attn1.to_q.lora.down.weight, earlier as official
kohya           lora_unet_…_attn1_to_q.lora_down.weight with .alpha, which the WebUI's <lora:…> reads
==============  =======================================================================================

The names before these are diffusers' (for motion modules also the official ones) or LDM's, with any prefix. A layer is
found by its flat name, its dotted name with underscores, since kohya's spelling has no other.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import torch

from animatediff_ext.formats.container import TensorFile, open_file
from animatediff_ext.formats.error import FormatError
from animatediff_ext.formats.kind import KINDS, kind_of
from animatediff_ext.formats.tensors import write_tensors

Matrices = tuple[torch.Tensor, torch.Tensor]
"""down ``(rank, in)`` and up ``(out, rank)``: ``up @ down`` is added to the weight. alpha / rank is in ``up``."""

_LORAS = {kind.name: kind for kind in KINDS if kind.name in ("motion-lora", "domain-adapter", "lora")}
MIDDLE_BLOCK = "mid_block_motion_modules_"
"""How the flat names of its motion module begin, which not every family has."""
_ADVICE = "choose a LoRA and a model that belong together."


class LinearSizes(Protocol):
    """What has to be known of a layer; `animatediff_ext.inject.low_rank.Layer` has it."""

    @property
    def num_in(self) -> int: ...

    @property
    def num_out(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class LoraFile:
    """The low-rank matrices of one file."""

    path: Path
    kind: str
    """``motion-lora``, ``domain-adapter`` or ``lora`` (`animatediff_ext.formats.kind`)."""
    matrices: Mapping[str, Matrices]
    """By flat name of the layer. A convolution's are flattened to two axes."""
    metadata: Mapping[str, str] = field(default_factory=dict)

    def for_layers(self, layers: Mapping[str, LinearSizes]) -> dict[str, Matrices]:
        """The matrices of those layers, by dotted name, that the file has any for.

        Those for a middle block are left out where the motion module has none: official motion LoRAs were made for v2,
        and work on v1 and v3 so. Raises `FormatError` if there are some for layers that are not given, or in other
        sizes; so ``layers`` are all to which anything can be added, motion and image layers for a file with both.
        """
        dotted = {flat(name): name for name in layers}
        assert len(dotted) == len(layers), "two layers have the same flat name"
        no_middle = not any(name.startswith(MIDDLE_BLOCK) for name in dotted)
        wanted = [name for name in self.matrices if not (no_middle and name.startswith(MIDDLE_BLOCK))]
        self._check_names(wanted, strange=[name for name in wanted if name not in dotted])
        found = {dotted[name]: self.matrices[name] for name in wanted}
        for name, pair in found.items():
            self._check_sizes(name, pair, layers[name])
        return found

    def _check_names(self, wanted: list[str], strange: list[str]) -> None:
        if len(strange) == len(wanted):
            problem = f"is {_LORAS[self.kind].what}, for layers such as {next(iter(self.matrices))}, none of which is "
            raise FormatError.about(self.path, f"{problem}here: {_ADVICE}")
        if strange:
            raise FormatError.about(
                self.path,
                f"has matrices for layers that are not in this model or take no LoRA here, {strange[0]} among them "
                f"({len(strange)} of {len(wanted)}): {_ADVICE}",
            )

    def _check_sizes(self, name: str, pair: Matrices, layer: LinearSizes) -> None:
        (_, num_in), (num_out, _) = (matrix.shape for matrix in pair)
        if (num_in, num_out) != (layer.num_in, layer.num_out):
            raise FormatError.about(
                self.path,
                f"was made for another model: in {name} it turns {num_in} channels into {num_out}, this model "
                f"{layer.num_in} into {layer.num_out}; {_ADVICE}",
            )


def flat(name: str) -> str:
    """``….attn1.to_out.0`` → ``…_attn1_to_out_0``, as kohya spells layers."""
    return name.replace(".", "_")


# ---- reading ----


def lora_kind(path: str | Path) -> str:
    """As `LoraFile.kind`, read from the names in the file alone. Raises `FormatError` for other files."""
    return _kind(open_file(path))


def _kind(file: TensorFile) -> str:
    # An alpha of a motion module's layer has a name like one of its weights, so it may not tell the kind.
    kind = kind_of({name: tensor for name, tensor in file.layout.items() if not name.endswith(".alpha")})
    if kind.name not in _LORAS:
        belongs = f" {kind.belongs}" if kind.belongs and kind.name != "unknown" else ""
        raise FormatError.about(file.path, f"is {kind.what}, not a LoRA.{belongs}")
    return kind.name


def load_lora(path: str | Path) -> LoraFile:
    """Reads a LoRA in any of the spellings above, onto the CPU.

    Matrices have the file's dtype and keep nothing of it open, but ``up`` is float32 where alpha had to be multiplied
    in: alpha / rank is often 1/128, which half precision has too few small numbers for. Matrices for text encoders are
    left out. Raises `FormatError` for other files, and for what is not only low-rank matrices (LoHa, LoKr, DoRA …).
    """
    file = open_file(path)
    kind = _kind(file)
    found = _parts_by_layer(file)
    tensors = file.read([name for parts in found.values() for name in parts.values()])
    peft = _peft_settings(file)
    matrices = {}
    for layer, parts in found.items():
        down, up = _pair(file, layer, {role: tensors[name] for role, name in parts.items()})
        scale = _scale(file, layer, tensors.get(parts.get("alpha")), peft, parts["down"], rank=down.shape[0])
        # Clones, since what is mapped keeps its file open, and Windows then lets nobody replace it.
        matrices[layer] = (down.clone(), up.clone() if scale == 1 else up.float() * scale)
    return LoraFile(path=file.path, kind=kind, matrices=matrices, metadata=file.metadata)


# A block of the UNet behind any prefix (lora_unet_, unet., state_dict.module. …); else what a prefix says to be of one.
_IN_BLOCK = re.compile(r"(?:^|[._])((?:(?:down|up|input|output)_blocks[._]\d|(?:mid|middle)_block[._]).+)")
_IN_UNET = re.compile(r"(?:^|\.)(?:lora_unet_|unet\.)(.+)")
_IN_TEXT_ENCODER = re.compile(r"(?:^|\.)(?:lora_te\d?_|text_encoder|text_model\.)")
# PEFT's matrices may have the name of their adapter between: lora_A.default.weight.
_MATRIX = re.compile(r"(?P<layer>.+?)[._]lora[._](?P<role>down|up|A|B)(?:\.\w+)?\.weight")
_ALPHA = re.compile(r"(?P<layer>.+)\.alpha")
_ROLES = {"down": "down", "up": "up", "A": "down", "B": "up"}


def _parts_by_layer(file: TensorFile) -> dict[str, dict[str, str]]:
    """Flat name of the layer → down, up, alpha → name in the file. The layers of text encoders are left out."""
    found: dict[str, dict[str, str]] = {}
    for name in file.layout:
        layer, role = _layer_and_role(file, name)
        if not layer:
            continue
        parts = found.setdefault(layer, {})
        if role in parts:
            raise FormatError.about(
                file.path,
                f"has two LoRAs in it: {parts[role]} and {name} are for the same layer. Get them one by one.",
            )
        parts[role] = name
    if not found:
        raise FormatError.about(
            file.path,
            f"has no matrices for the image model or its motion module, only such as {next(iter(file.layout))}: it "
            "does nothing here, get another LoRA.",
        )
    return found


def _layer_and_role(file: TensorFile, name: str) -> tuple[str, str]:
    """Flat name of the layer and down, up or alpha; two empty strings for what is not the UNet's."""
    unet = _IN_BLOCK.search(name) or _IN_UNET.search(name)
    rest = unet[1] if unet else name
    if not unet and _IN_TEXT_ENCODER.search(name):
        return "", ""
    if match := _MATRIX.fullmatch(rest):  # also of another kind of model, for `LoraFile.for_layers` to name
        return usual_name(match["layer"]), _ROLES[match["role"]]
    if not unet:  # embeddings, counters of steps
        return "", ""
    if match := _ALPHA.fullmatch(rest):
        return usual_name(match["layer"]), "alpha"
    raise FormatError.about(
        file.path,
        f"has {name} in it, which is not one of a LoRA's two matrices: LyCORIS (LoHa, LoKr …), DoRA and whole weights "
        "are not supported, nor are spellings that are not known here. Get it as a plain LoRA.",
    )


def usual_name(layer: str) -> str:
    """The flat name of a layer, by diffusers' names in the image model and the official names in motion modules."""
    name = _from_ldm(flat(layer).replace("_processor_", "_"))
    name = re.sub(r"_to_out$", "_to_out_0", name)
    name = re.sub(
        r"_(?:motion_modules|temporal_attentions)_(\d+)_(?:temporal_transformer_)?",
        r"_motion_modules_\1_temporal_transformer_",
        name,
    )
    return re.sub(
        r"(temporal_transformer_transformer_blocks_\d+)_attn(\d+)_",
        lambda match: f"{match[1]}_attention_blocks_{int(match[2]) - 1}_",
        name,
    )


def _from_ldm(name: str) -> str:
    """LDM's names of the attention layers → diffusers'; LDM's other names are left as they are.

    SD 1.5 and SDXL have three blocks in a level: two and a downsampling on the way in, behind the first convolution;
    three on the way out.
    """
    if match := re.fullmatch(r"(input|output)_blocks_(\d+)_1_((?:transformer_blocks|proj)_.+)", name):
        way, number, rest = match.groups()
        side, first = {"input": ("down", 1), "output": ("up", 0)}[way]
        level, place = divmod(int(number) - first, 3)
        return f"{side}_blocks_{level}_attentions_{place}_{rest}"
    return re.sub(r"^middle_block_1_(?=transformer_blocks_|proj_)", "mid_block_attentions_0_", name)


def _pair(file: TensorFile, layer: str, parts: dict[str, torch.Tensor]) -> Matrices:
    missing = [role for role in ("down", "up") if role not in parts]
    if missing:
        raise FormatError.about(
            file.path, f"has no {missing[0]} matrix for {layer}, only {' and '.join(parts)}: download it again."
        )
    down, up = parts["down"], parts["up"]
    # A convolution of 1×1 stands in for a linear layer, so there may be more than two axes.
    if min(down.ndim, up.ndim) > 1 and 0 < down.shape[0] == up.flatten(1).shape[1]:
        return down.flatten(1), up.flatten(1)
    raise FormatError.about(
        file.path,
        f"has matrices of {_sizes(down)} and {_sizes(up)} for {layer}, which do not fit each other: download it again.",
    )


def _sizes(tensor: torch.Tensor) -> str:
    return "×".join(str(size) for size in tensor.shape) or "one number"


def _scale(file: TensorFile, layer: str, alpha: torch.Tensor | None, peft: dict, down: str, *, rank: int) -> float:
    if alpha is not None:
        if alpha.numel() != 1:
            raise FormatError.about(
                file.path, f"has an alpha of {_sizes(alpha)} for {layer} instead of one number: download it again."
            )
        return alpha.item() / rank
    alpha = _peft_alpha(peft, down)
    return 1.0 if alpha is None else alpha / (math.sqrt(rank) if peft.get("use_rslora") else rank)


def _peft_settings(file: TensorFile) -> dict:
    """PEFT's files have alpha beside them, diffusers' of 2025 and later in their header; in older ones it is the rank.

    diffusers: loaders/lora_base.py, LORA_ADAPTER_METADATA_KEY.
    """
    beside = file.path.parent / "adapter_config.json"
    text = file.metadata.get("lora_adapter_metadata", "{}")
    if file.path.stem == "adapter_model" and beside.is_file():
        text = beside.read_text(encoding="utf-8")
    try:
        return {name.removeprefix("unet."): value for name, value in json.loads(text).items()}
    except (ValueError, AttributeError) as error:
        raise FormatError.about(
            file.path, f"comes with settings of PEFT that cannot be read ({error}): download it again."
        ) from error


def _peft_alpha(peft: dict, down: str) -> float | None:
    layer = down.partition(".lora_A.")[0]
    for pattern, alpha in (peft.get("alpha_pattern") or {}).items():  # names' ends, or regular expressions for them
        if re.fullmatch(rf"(?:.*\.)?(?:{pattern})", layer):
            return alpha
    return peft.get("lora_alpha")


# ---- writing ----

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
    tensors = {
        key: tensor.detach().to("cpu", dtype, copy=True).contiguous()
        for name, pair in matrices.items()
        for key, tensor in zip(_KEYS[spelling](name), pair, strict=True)
    }
    if spelling == "webui":  # in float32, since bfloat16 has not every whole number above 256
        tensors |= {f"lora_unet_{flat(name)}.alpha": _rank(pair) for name, pair in matrices.items()}
    write_tensors(tensors, Path(path), {"format": "pt"} | (metadata or {}))


def _rank(pair: Matrices) -> torch.Tensor:
    return torch.tensor(float(pair[0].shape[0]))


def _official_keys(name: str) -> Iterable[str]:
    # The official loader (convert_lora_safetensor_to_diffusers.py) puts the 0 of to_out.0 in itself, always.
    parent, _, layer = re.sub(r"\.to_out\.0$", ".to_out", name).rpartition(".")
    return (f"{parent}.processor.{layer}_lora.{role}.weight" for role in ("down", "up"))


def _kohya_keys(name: str) -> Iterable[str]:
    return (f"lora_unet_{flat(name)}.lora_{role}.weight" for role in ("down", "up"))


_KEYS = {"official": _official_keys, "webui": _kohya_keys}
