"""How much memory a run will need, without running it.

Axes: s clips, f frames, c channels, h height, w width.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from animatediff_ext.standalone.spatial import Conditioning
from animatediff_ext.trainer.data.take import Bucket, buckets_of
from animatediff_ext.trainer.loop import Trainer
from animatediff_ext.trainer.noising import loss_per_clip

_OPTIMIZER_BYTES = {"adamw": 8, "adamw8bit": 2, "prodigy": 16}
"""For each trained number, besides its float32 value and gradient."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Bytes on the device of one process, without what a CUDA context, fragmentation and kernels' own buffers take."""

    frozen: int
    trained: int
    """Weights, gradients, optimizer and running mean."""
    activations: int
    """What a step on the largest bucket holds besides, where it holds the most."""

    @property
    def total(self) -> int:
        return self.frozen + self.trained + self.activations


def estimate(trainer: Trainer) -> Estimate:
    """For a trainer between two steps, which it leaves as it is."""
    config, stage = trainer.config, trainer.stage
    num_trained = sum(parameter.numel() for parameter in trainer.parameters)
    frozen = [stage.spatial.unet, stage.spatial.vae, *stage.spatial.text_encoders]
    if stage.motion is not None and stage.motion is not stage.trained:
        frozen.append(stage.motion)
    gradients = sum(map(_size, trainer.parameters))
    largest = max(
        buckets_of(config.sample, stills=stage.motion is None), key=lambda b: b.width * b.height * b.num_frames
    )
    return Estimate(
        frozen=sum(_size(tensor) for model in frozen for tensor in (*model.parameters(), *model.buffers())),
        trained=num_trained * (8 + _OPTIMIZER_BYTES[config.optim.name] + (4 if config.ema.decay else 0)),
        activations=_peak(trainer, largest, gradients) - gradients,
    )


def _size(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


# ---- a step that has shapes and no numbers ----


def _peak(trainer: Trainer, bucket: Bucket, gradients: int) -> int:
    """The most bytes that a step holds at once besides weights and optimizer."""
    accumulates = trainer.config.sample.accumulate > 1
    # Only what is computed from fake tensors is without numbers; the code around it goes on as ever.
    fake = FakeTensorMode(allow_non_fake_inputs=True).from_tensor
    encoding, training = _Tally(), _Tally()
    with encoding:
        _encode(trainer, bucket, fake)
    with training, _gradients_of(trainer.parameters, kept=not accumulates):
        _train(trainer, bucket, fake)
    # From the second part of a step on, there are the gradients of those before.
    return max(encoding.peak, training.peak) + (gradients if accumulates else 0)


def _encode(trainer: Trainer, bucket: Bucket, fake) -> None:
    pixels = torch.zeros(bucket.num_frames, 3, bucket.height, bucket.width, device=trainer.group.device)
    trainer.stage.spatial.encode_frames(fake(pixels) / 127.5)


def _train(trainer: Trainer, bucket: Bucket, fake) -> None:
    spatial, num_clips, device = trainer.stage.spatial, trainer.config.sample.batch, trainer.group.device
    factor, channels = spatial.vae_factor, spatial.unet.config.in_channels
    size = (num_clips, bucket.num_frames, channels, bucket.height // factor, bucket.width // factor)  # s f c h w
    x = fake(torch.zeros(size, device=device))
    prompt = Conditioning.cat([spatial.encode_text([""])] * num_clips).to(device, torch.float32)
    pooled = None if prompt.pooled is None else fake(prompt.pooled)
    trainer.attach(bucket.num_frames)
    try:
        with trainer.autocast():
            timesteps = fake(torch.zeros(num_clips, dtype=torch.long, device=device))
            prediction = trainer.predict(x, timesteps, Conditioning(fake(prompt.tokens), pooled))
        loss_per_clip(prediction, torch.zeros_like(x)).mean().backward()
    finally:
        trainer.detach()


@contextmanager
def _gradients_of(parameters: list[nn.Parameter], *, kept: bool) -> Iterator[None]:
    """No gradients before, none left behind. Unless ``kept``, each goes as soon as it is there."""

    def drop(parameter: nn.Parameter) -> None:
        parameter.grad = None

    hooks = [] if kept else [parameter.register_post_accumulate_grad_hook(drop) for parameter in parameters]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for parameter in parameters:
            drop(parameter)


class _Tally(TorchDispatchMode):
    """Adds up the storages that operations make, each until its last tensor goes; gradients are no exception."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self._alive: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        given = {storage._cdata for storage in _storages((args, kwargs))}
        for storage in _storages(output):
            if storage._cdata not in given:  # else it is a view, or changed in place
                self._add(storage)
        return output

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive:
            return

        def gone(_: weakref.ref) -> None:
            del self._alive[key]
            self.now -= size

        self._alive[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


def _storages(values) -> Iterator[torch.UntypedStorage]:
    return (value.untyped_storage() for value in tree_leaves(values) if isinstance(value, torch.Tensor))
