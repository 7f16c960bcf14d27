"""LoRAs in a whole model for as long as a ``with`` lasts: UNet, text encoders and motion module.

Everything is added by forward hooks. No weight is changed, so nothing has to be taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from animatediff_ext.formats import FormatError, LoraFile, load_lora
from animatediff_ext.formats.container import open_file
from animatediff_ext.formats.lora_file import MIDDLE_BLOCK, Matrices, flat
from animatediff_ext.inject import LowRank, low_rank_added
from animatediff_ext.inject.low_rank import Layer, motion_layers
from animatediff_ext.motion import MotionModel
from animatediff_ext.motion_loras import placed
from animatediff_ext.standalone.lora_names import from_ldm
from animatediff_ext.standalone.lora_text import PREFIXES, is_for_text, text_matrices
from animatediff_ext.standalone.spatial import SpatialModel


def load_whole_lora(path: str | Path) -> LoraFile:
    """What `formats.load_lora` reads, and the layers of text encoders, behind ``text_encoder_`` or ``text_encoder_2_``.

    Raises `FormatError`.
    """
    file = open_file(path)
    if not any(is_for_text(name) for name in file.layout):
        return load_lora(path)
    text = text_matrices(file)
    if all(is_for_text(name) for name in file.layout):
        return LoraFile(path=file.path, kind="lora", matrices=text, metadata=file.metadata)
    lora = load_lora(path)
    return replace(lora, matrices={**lora.matrices, **text})


@contextmanager
def loras_added(
    spatial: SpatialModel,
    motion: MotionModel | None,
    loras: Sequence[tuple[LoraFile, float]],
    *,
    others: Sequence[MotionModel] = (),
    device: torch.device,
    warn: Callable[[str], None] = lambda _sentence: None,
) -> Iterator[None]:
    """Add every LoRA with its strength. ``device`` is where the model works, which need not be where it is now.

    ``others`` are motion models that are blended with the first, and get what that gets.
    ``warn`` gets a sentence for a file of which a part is for layers that are not here. Raises `FormatError` where
    none is here, or where sizes differ.
    """
    layers = layers_of(spatial, motion)
    aliases = from_ldm(spatial.unet)
    with ExitStack() as undo:
        for lora, strength in loras:
            matrices = _matched(lora, layers, aliases, warn)
            at_work = {name: placed(pair, device, spatial.unet.dtype) for name, pair in matrices.items()}
            undo.enter_context(_added(layers, at_work, strength))
            for other in others:
                theirs = motion_layers(other)
                pairs = _matched(lora, layers | theirs, aliases, warn)
                at_work = {name: placed(pairs[name], device, spatial.unet.dtype) for name in pairs if name in theirs}
                undo.enter_context(_added(theirs, at_work, strength))
        yield


def layers_of(spatial: SpatialModel, motion: MotionModel | None) -> dict[str, Layer]:
    """Every linear layer and convolution of a model by dotted name, those of text encoders behind `PREFIXES`."""
    layers = dict(_layers("", spatial.unet))
    for prefix, encoder in zip(PREFIXES, spatial.text_encoders, strict=False):  # SD 1.5 has one
        layers |= _layers(f"{prefix}.", encoder)
    return layers | (motion_layers(motion) if motion else {})


def _layers(prefix: str, model: nn.Module) -> Iterator[tuple[str, Layer]]:
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            num_out, num_in = module.weight.flatten(1).shape  # of a convolution: channels times places of its kernel
            yield prefix + name, Layer(module=module, num_in=num_in, num_out=num_out)


def _matched(
    lora: LoraFile, layers: dict[str, Layer], aliases: dict[str, str], warn: Callable[[str], None]
) -> dict[str, Matrices]:
    """The matrices by dotted name of their layer."""
    usual = {flat(aliases.get(name, name)): pair for name, pair in lora.matrices.items()}
    here = {flat(name) for name in layers}
    known = {name: pair for name, pair in usual.items() if name in here}
    if not known:
        raise FormatError.about(lora.path, _none_here(lora, layers))
    missing = [name for name in usual if name not in here and not name.startswith(MIDDLE_BLOCK)]
    if missing:
        warn(
            f"{lora.path.name}: {len(missing)} of its {len(usual)} layers, {missing[0]} among them, are not in this "
            "model and have no effect."
        )
    return replace(lora, matrices=known).for_layers(layers)


def _none_here(lora: LoraFile, layers: dict[str, Layer]) -> str:
    if lora.kind == "motion-lora" and not any(".motion_modules." in name for name in layers):
        return "is a motion LoRA, but there is no motion module: give --motion-module too, or leave it out."
    return (
        f"was made for another kind of model: none of its {len(lora.matrices)} layers, {next(iter(lora.matrices))} "
        "among them, is in this one. Choose a LoRA and a model that belong together."
    )


@contextmanager
def _added(layers: dict[str, Layer], matrices: dict[str, Matrices], strength: float) -> Iterator[None]:
    is_conv = {name: isinstance(layers[name].module, nn.Conv2d) for name in matrices}
    linear = {name: LowRank.of(*pair) for name, pair in matrices.items() if not is_conv[name]}
    with ExitStack() as undo:
        undo.enter_context(low_rank_added(layers, linear, strength))
        for name, (down, up) in matrices.items():
            if is_conv[name]:
                hook = _adding(layers[name].module, down, strength * up)
                undo.callback(layers[name].module.register_forward_hook(hook).remove)
        yield


def _adding(conv: nn.Conv2d, down: torch.Tensor, up: torch.Tensor) -> Callable:
    """A forward hook: ``down`` is the layer's own kind of convolution, ``up`` mixes its channels."""
    down = down.unflatten(1, conv.weight.shape[1:])  # rank c h w
    up = up[:, :, None, None]

    def hook(_conv, args: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        x = functional.conv2d(args[0].to(down.dtype), down, None, conv.stride, conv.padding, conv.dilation, conv.groups)
        return output + functional.conv2d(x, up).to(output.dtype)

    return hook
