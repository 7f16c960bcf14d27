"""Motion modules from files and into files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from animatediff_ext.formats.container import WEIGHTS_OF_FOLDER, open_file
from animatediff_ext.formats.describe import info_of
from animatediff_ext.formats.error import FormatError
from animatediff_ext.formats.family import FAMILY_KEY, SCHEDULE_KEY
from animatediff_ext.formats.kind import MOTION_MODULE, kind_of
from animatediff_ext.formats.recognise import GROUPS_KEY, HEADS_KEY, recognise
from animatediff_ext.formats.spelling import State, official, to_diffusers
from animatediff_ext.formats.tensors import write_tensors
from animatediff_ext.motion import MotionConfig, MotionModel
from animatediff_ext.motion.positions import sinusoids
from animatediff_ext.whole_file import whole_file


def load_motion_module(path: str | Path, *, family: str | None = None) -> MotionModel:
    """Reads a motion module of any known family and spelling.

    ``path`` is a safetensors file, a PyTorch file, or a diffusers MotionAdapter folder. ``family`` overrides what is
    detected. The model is in eval mode, without gradients, on the CPU, in the file's dtype (float8: in float16), and
    keeps nothing of the file open; ``model.config`` says what it is, ``model.info`` (a `ModuleInfo`) what a host shows
    of it.

    Raises `FormatError`, whose text says what the file is instead and where it belongs; `ValueError` for a ``family``
    that does not exist.
    """
    file = open_file(path)
    kind = kind_of(file.layout)
    if kind is not MOTION_MODULE:
        raise FormatError.about(file.path, f"is {kind.what}, not a motion module. {kind.belongs}")
    module = recognise(file, family)
    tensors = file.read(module.names.values())
    state = official({short: _computable(tensors[full]) for short, full in module.names.items()})
    with torch.device("meta"):  # no memory, no random numbers: the file brings every value
        model = MotionModel(module.config)
    model.load_state_dict(_with_tables(state, module.config), assign=True)
    _unmap(model)
    model.info = info_of(file, module)
    return model.eval().requires_grad_(False)


def _computable(tensor: torch.Tensor) -> torch.Tensor:
    """Nothing computes in eight bits, and the sinusoids of position tables need more of them."""
    return tensor.half() if tensor.is_floating_point() and tensor.dtype.itemsize == 1 else tensor


def _unmap(model: MotionModel) -> None:
    """Weights that are mapped keep their file open, which Windows then lets nobody replace, as long as the model lives.
    One by one, so that memory holds the model once, and one tensor."""
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()


def _with_tables(state: State, config: MotionConfig) -> State:
    """Adds the position tables that a file leaves out. All get the dtype of the weights that they are added to, and
    memory of their own."""
    tables = {channels: sinusoids(config.num_positions, channels) for channels in set(config.sites().values())}
    state = dict(state)
    for name, weight in list(state.items()):
        if name.endswith(".to_q.weight"):
            table = name.replace(".to_q.weight", ".pos_encoder.pe")
            state[table] = state.get(table, tables[weight.shape[0]]).to(weight.dtype, copy=True)
    return state


def save_motion_module(
    model: MotionModel,
    path: str | Path,
    *,
    dtype: torch.dtype = torch.float16,
    metadata: dict[str, str] | None = None,
) -> None:
    """Writes one safetensors file with the official names, position tables included.

    The metadata gains what the tensors do not tell (family, noise schedule, heads, norm groups), so that loading gives
    the same model again. The file appears under its name only when it is whole.
    """
    _write(model.state_dict(), Path(path), dtype, _metadata(model.config, metadata))


def save_motion_adapter(
    model: MotionModel,
    folder: str | Path,
    *,
    dtype: torch.dtype = torch.float16,
    metadata: dict[str, str] | None = None,
) -> None:
    """Writes a folder for ``diffusers.MotionAdapter.from_pretrained``: config.json and the weights.

    Raises `ValueError` where diffusers has no words for the layout.
    """
    folder = Path(folder)
    config, state = _adapter_config(model.config), to_diffusers(model.state_dict())
    _write(state, folder / WEIGHTS_OF_FOLDER[0], dtype, _metadata(model.config, metadata))
    with whole_file(folder / "config.json") as part:
        part.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _write(state: State, path: Path, dtype: torch.dtype, metadata: dict[str, str]) -> None:
    # Copies, since q, k and v are views of one tensor, and safetensors refuses tensors that share memory.
    state = {name: tensor.detach().to("cpu", dtype, copy=True).contiguous() for name, tensor in state.items()}
    write_tensors(state, path, metadata)


def _metadata(config: MotionConfig, metadata: dict[str, str] | None) -> dict[str, str]:
    own = {
        "format": "pt",
        FAMILY_KEY: config.family.name,
        SCHEDULE_KEY: json.dumps(asdict(config.family.schedule)),
        HEADS_KEY: str(config.num_heads),
        GROUPS_KEY: str(config.num_groups),
    }
    return (metadata or {}) | own


def _adapter_config(config: MotionConfig) -> dict[str, Any]:
    """Arguments of ``MotionAdapter``, which derives the up blocks from the down blocks, one module more in each."""
    channels = [block[0] for block in config.down_channels]
    layers = [len(block) for block in config.down_channels]
    down = tuple((c,) * n for c, n in zip(channels, layers, strict=True))
    up = tuple((c,) * (n + 1) for c, n in zip(channels[::-1], layers[::-1], strict=True))
    mid = (channels[-1],) * len(config.mid_channels)
    if (config.down_channels, config.mid_channels, config.up_channels) != (down, mid, up) or config.num_attentions != 2:
        raise ValueError(
            "diffusers' MotionAdapter cannot describe this layout of motion modules: write it as official."
        )
    return {
        "_class_name": "MotionAdapter",
        "block_out_channels": channels,
        "motion_layers_per_block": layers,
        "motion_transformer_layers_per_block": config.num_layers,
        "motion_mid_block_layers_per_block": len(mid) or 1,
        "motion_transformer_layers_per_mid_block": config.num_layers,
        "motion_num_attention_heads": config.num_heads,
        "motion_norm_num_groups": config.num_groups,
        "motion_max_seq_length": config.num_positions,
        "use_motion_mid_block": bool(mid),
    }
