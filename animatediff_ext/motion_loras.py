"""LoRAs of this family at run time: motion LoRAs and domain adapters, with weights that may travel.

Everything is added by forward hooks. No weight is changed, so nothing has to be taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from animatediff_ext.direct import LoraWeight
from animatediff_ext.formats import FormatError, LoraFile
from animatediff_ext.formats.lora_file import Matrices, usual_name
from animatediff_ext.inject import Injection, LowRank, low_rank_added
from animatediff_ext.inject.attach import Blend
from animatediff_ext.inject.low_rank import Layer, Strength, motion_layers, spatial_attention_layers
from animatediff_ext.motion.constants import constant

RUNTIME_KINDS = ("motion-lora", "domain-adapter")
"""Of `formats.LoraFile`: what is added here, and not by the host's own ``<lora:…>``."""


def spatial_layers(unet: nn.Module) -> dict[str, Layer]:
    """q, k, v and output of every spatial attention, by the flat names of files; the UNet is LDM's or diffusers'."""
    return {usual_name(name): layer for name, layer in spatial_attention_layers(unet).items()}


@contextmanager
def loras_attached(
    unet: nn.Module,
    blend: Blend,
    loras: Sequence[tuple[LoraFile, LoraWeight]],
    *,
    injection: Injection,
    progress: Callable[[], float],
    device: torch.device,
    dtype: torch.dtype,
) -> Iterator[None]:
    """Add LoRAs to a UNet and to the motion models in it. Raises `FormatError` for one that does not fit."""
    spatial = spatial_layers(unet)
    with ExitStack() as undo:
        for file, weight in loras:
            if file.kind not in RUNTIME_KINDS:
                raise FormatError.about(
                    file.path,
                    "is a LoRA for images: put it into the prompt, as <lora:name:1>, or into --lora of generate.",
                )
            over_rows, over_tokens = (over(weight, injection, progress) for over in (_over_rows, _over_tokens))
            for number, (model, _) in enumerate(blend):
                motion = motion_layers(model)
                additions = {
                    name: LowRank.of(*placed(pair, device, dtype))
                    for name, pair in file.for_layers(spatial | motion).items()
                    if name in motion or not number  # into the UNet once, whatever the number of motion models
                }
                in_space = {name: addition for name, addition in additions.items() if name in spatial}
                in_time = {name: addition for name, addition in additions.items() if name in motion}
                undo.enter_context(low_rank_added(spatial, in_space, over_rows))
                undo.enter_context(low_rank_added(motion, in_time, over_tokens))
        yield


def _over_tokens(weight: LoraWeight, injection: Injection, progress: Callable[[], float]) -> Strength:
    """In a motion module: frames lie along the axis before the last."""

    def strength(x: torch.Tensor) -> float | torch.Tensor:
        now = weight.now(progress(), injection.frames_now())
        return now if isinstance(now, float) else constant(tuple(now), x.device, x.dtype).unsqueeze(-1)

    return strength


def _over_rows(weight: LoraWeight, injection: Injection, progress: Callable[[], float]) -> Strength:
    """In the UNet: ``(s f) t c``, or ``(s f tiles) t c`` where something such as Hypertile takes pictures apart."""

    def strength(x: torch.Tensor) -> float | torch.Tensor:
        call = injection.call
        now = weight.now(progress(), call.frames)
        if isinstance(now, float):
            return now
        of_rows = constant(tuple(now), x.device, x.dtype).repeat(call.num_rows // len(now))
        return of_rows.repeat_interleave(len(x) // call.num_rows).view(-1, 1, 1)

    return strength


def placed(pair: Matrices, device: torch.device, dtype: torch.dtype) -> Matrices:
    """Both matrices in one number format, of like size: alpha / rank in one of them is too small for half precision."""
    down, up = (matrix.float() for matrix in pair)
    large_down, large_up = down.abs().max().item(), up.abs().max().item()
    if large_down and large_up:
        scale = (large_up / large_down) ** 0.5
        down, up = down * scale, up / scale
    return down.to(device, dtype), up.to(device, dtype)
