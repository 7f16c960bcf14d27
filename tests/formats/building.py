"""Files as other programs write them, made from small random motion models."""

from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save_file

from animatediff_ext.formats import to_diffusers, to_hotshot
from tests.models.motion import motion_config, random_motion


@cache
def toy(family="v2", per_level=1, **sizes):
    """One module in a down block and two in an up block, if not told otherwise. Tests share it: do not change it."""
    widths = (32, 64, 64) if family in ("sdxl-beta", "hotshot-xl") else (32, 64, 64, 64)
    return random_motion(motion_config(family, widths=widths, per_level=per_level, **sizes))


def weights(model):
    """The state dict with memory of its own for each tensor, as safetensors wants it."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_equal(state, other):
    """The same names with the same values, bit by bit."""
    assert state.keys() == other.keys()
    for name in other:
        torch.testing.assert_close(state[name], other[name], rtol=0, atol=0)


def without_tables(state):
    return {name: tensor for name, tensor in state.items() if not name.endswith(".pe")}


def prefixed(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


def write(path: Path, content, metadata=None) -> Path:
    """As safetensors or with torch.save, by the ending."""
    if path.suffix == ".safetensors":
        save_file(content, path, metadata=metadata)
    else:
        torch.save(content, path)
    return path


def zeros(shapes):
    """Tensors of these shapes in next to no memory."""
    return {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}


IMAGE_LAYERS = {
    "conv_in.weight": torch.zeros(32, 4, 3, 3),
    "down_blocks.0.resnets.0.norm1.weight": torch.zeros(32),
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight": torch.zeros(32, 32),
    "time_embedding.linear_1.weight": torch.zeros(128, 32),
}

OPTIMIZER = {"state": {0: {"step": torch.tensor(7.0), "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]}

WRAPPINGS = {
    "official": lambda state: state,
    "without temporal_transformer": lambda state: {n.replace(".temporal_transformer", ""): t for n, t in state.items()},
    "diffusers": to_diffusers,
    "hotshot": to_hotshot,
    "DistributedDataParallel": lambda state: prefixed("module.", state),
    "a pipeline's UNet": lambda state: prefixed("unet.", state),
    "diffusers in a pipeline": lambda state: prefixed("motion_adapter.", to_diffusers(state)),
    "a ComfyUI-like prefix": lambda state: prefixed("model.diffusion_model.", state),
    "a whole video UNet": lambda state: IMAGE_LAYERS | state,
}
"""Name → the file's tensors, given official ones."""

CHECKPOINTS = {
    "state_dict": lambda state: {"state_dict": state},
    "the official trainer's": lambda state: {
        "epoch": 1,
        "global_step": 7,
        "state_dict": prefixed("module.", IMAGE_LAYERS | state),
    },
    "nested twice": lambda state: {"checkpoint": {"state_dict": state}, "animatediff_config": {"a": [1, "b"]}},
    "with optimizer": lambda state: {"optimizer": OPTIMIZER, "model": state, "lr": 0.1},
}
"""Name → what torch.save is given."""
