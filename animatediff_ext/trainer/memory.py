"""How much memory a run will need, without running it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from animatediff_ext.standalone.spatial import Conditioning
from animatediff_ext.trainer.config import Config, parse_size
from animatediff_ext.trainer.loop import Trainer

_OPTIMIZER_BYTES = {"adamw": 8, "adamw8bit": 2, "prodigy": 16}
"""For each trained number, besides its float32 value and gradient."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Bytes on the device of one process, without what a CUDA context and fragmentation take."""

    frozen: int
    trained: int
    """Weights, gradients, optimizer and running mean."""
    activations: int
    """What the forward pass keeps for the backward pass, for the largest bucket."""

    @property
    def total(self) -> int:
        return self.frozen + self.trained + self.activations


def estimate(trainer: Trainer) -> Estimate:
    config, spatial = trainer.config, trainer.stage.spatial
    trained = sum(parameter.numel() for parameter in trainer.parameters)
    frozen = [spatial.unet, spatial.vae, *spatial.text_encoders]
    if trainer.stage.motion is not None and trainer.stage.motion is not trainer.stage.trained:
        frozen.append(trainer.stage.motion)
    return Estimate(
        frozen=sum(map(_bytes, frozen)),
        trained=trained * (8 + _OPTIMIZER_BYTES[config.optim.name] + (4 if config.ema.decay else 0)),
        activations=_activations(trainer, config),
    )


def _bytes(module: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in (*module.parameters(), *module.buffers()))


def _activations(trainer: Trainer, config: Config) -> int:
    """The tensors that autograd keeps, counted in a forward pass that has shapes and no numbers."""
    width, height, frames = max(map(parse_size, config.sample.buckets), key=lambda size: size[0] * size[1] * size[2])
    spatial, batch = trainer.stage.spatial, config.sample.batch
    factor, channels = spatial.vae_factor, spatial.unet.config.in_channels
    kept: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, nn.Parameter):
            kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    device = trainer.group.device
    size = (batch, frames, channels, height // factor, width // factor)
    # Only what is computed from these inputs is without numbers; the code around it goes on as ever.
    fake = FakeTensorMode(allow_non_fake_inputs=True).from_tensor
    prompt = Conditioning.cat([spatial.encode_text([""])] * batch).to(device, torch.float32)
    pooled = None if prompt.pooled is None else fake(prompt.pooled)
    trainer.attach(frames)
    with trainer.autocast(), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        trainer.predict(
            fake(torch.zeros(size, device=device)),
            fake(torch.zeros(batch, dtype=torch.long, device=device)),
            Conditioning(fake(prompt.tokens), pooled),
        )
    trainer.detach()
    return sum(kept.values())
