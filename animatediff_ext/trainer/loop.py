"""The training loop.

Axes: s clips, f frames, c channels, h height, w width.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from animatediff_ext.standalone.spatial import Conditioning, SpatialModel
from animatediff_ext.trainer.config import Config
from animatediff_ext.trainer.data.dataset import Example
from animatediff_ext.trainer.ema import Ema
from animatediff_ext.trainer.encode import Batch, Encoder
from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.keyed import generator
from animatediff_ext.trainer.noising import Noising, loss_per_clip, without_appearance
from animatediff_ext.trainer.optimizer import make_optimizer, restore_optimizer, set_learning_rate
from animatediff_ext.trainer.processes import Processes
from animatediff_ext.trainer.stages import Stage
from animatediff_ext.trainer.state import State


class Denoiser(nn.Module):
    """The UNet with everything attached, as one module whose parameters are those that are trained."""

    def __init__(self, spatial: SpatialModel, trained: nn.Module):
        super().__init__()
        self.trained = trained
        self._predict = spatial.predict

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        """Noisy clips ``(s f c h w)`` at ``timesteps`` ``(s,)``, conditioning of s rows → prediction of that shape."""
        num_frames = x.shape[1]
        rows = rearrange(x, "s f c h w -> (s f) c h w")
        prediction = self._predict(
            rows, timesteps.repeat_interleave(num_frames), conditioning.repeat_frames(num_frames)
        )
        return rearrange(prediction, "(s f) c h w -> s f c h w", f=num_frames)


@dataclass(frozen=True, kw_only=True)
class StepDone:
    """Figures of one optimizer step, the same in every process."""

    loss: float
    rate: float
    """The learning rate."""
    norm: float
    """Of the gradient, before it was clipped."""


class Trainer:
    """One process's part of a run: models, optimizer, and how one step is made of examples."""

    def __init__(self, config: Config, stage: Stage, encoder: Encoder, group: Processes, amp: torch.dtype):
        self.config = config
        self.stage = stage
        self.encoder = encoder
        self.group = group
        self.amp = amp
        self.step = 0
        """Steps done."""
        self.noising = Noising(stage.schedule, config.diffusion, stage.spatial.prediction)
        stage.to(group.device, amp)
        self.parameters = list(stage.trained.parameters())
        self.optimizer = make_optimizer(config.optim, self.parameters)
        self.scaler = torch.amp.GradScaler(group.device.type, enabled=amp == torch.float16)
        self.ema = Ema(stage.trained, config.ema.decay) if config.ema.decay else None
        self.bad: dict[str, str] = {}
        """Clips that could not be read, and why."""
        self.predict = Denoiser(stage.spatial, stage.trained)
        self._denoise: nn.Module = self.predict
        self._attached = ExitStack()
        self._attached_frames = 0
        self._save_memory()

    def _save_memory(self) -> None:
        if self.config.precision.gradient_checkpointing:
            self.stage.spatial.unet.enable_gradient_checkpointing()
            if self.stage.motion is not None:
                self.stage.motion.use_gradient_checkpointing()
        if self.config.precision.compile:
            _compile_blocks(self.stage)

    def share_gradients(self) -> None:
        """From now on gradients are those of all processes. All call this at once, when all have a trainer: here they
        compare their models, and would wait for one that has none.
        """
        if self.group.world > 1:
            self._denoise = _distributed(self.predict, self.group)

    # ---- one step ----

    def train_step(self, parts: Sequence[Sequence[Example]]) -> StepDone:
        """Forward, backward and update from this process's examples, accumulated over ``parts``."""
        rate = set_learning_rate(self.optimizer, self.config.optim, self.step, self.config.run.steps)
        # In double precision, as the sum of Python's numbers would be. Read once: each look at it waits for the device.
        total = torch.zeros((), dtype=torch.float64, device=self.group.device)
        for number, examples in enumerate(parts):
            is_last = number == len(parts) - 1
            with self._quiet_unless(is_last):  # gradients are exchanged once, with those of all parts in them
                loss = self.loss(self.encoder.batch(examples)) / len(parts)
                self.scaler.scale(loss).backward()
            total += loss.detach()
        loss = self._agree(total, [pair for examples in parts for example in examples for pair in example.bad])
        norm = self._update()
        self.step += 1
        return StepDone(loss=loss, rate=rate, norm=norm)

    def loss(self, batch: Batch) -> torch.Tensor:
        """The mean loss of some clips, a scalar."""
        self.attach(batch.num_frames)
        x0 = batch.latents
        timesteps = torch.tensor([self.noising.timestep(*key) for key in batch.keys])
        noise = torch.stack([self.noising.noise(x0.shape[1:], *key) for key in batch.keys]).to(x0.device)
        target = self.noising.target(x0, noise, timesteps)
        x = self.noising.noised(x0, noise, timesteps)
        with self.autocast():
            prediction = self._denoise(x, timesteps.to(x.device), batch.conditioning)
        losses = loss_per_clip(prediction, target)
        if self.stage.name == "lora" and self.config.lora.debiased:
            anchors = torch.tensor([_anchor(batch.num_frames, key) for key in batch.keys])
            losses = losses + loss_per_clip(
                without_appearance(prediction.float(), anchors), without_appearance(target, anchors)
            )
        return (self.noising.weights(timesteps).to(losses.device) * losses).mean()

    def autocast(self):
        return torch.autocast(self.group.device.type, self.amp) if self.amp != torch.float32 else nullcontext()

    def _quiet_unless(self, is_last: bool):
        return nullcontext() if is_last or self.group.world == 1 else self._denoise.no_sync()

    def _update(self) -> float:
        self.scaler.unscale_(self.optimizer)
        limit = self.config.optim.clip or math.inf
        norm = nn.utils.clip_grad_norm_(self.parameters, limit).item()
        # The scaler skips such a step and lowers its scale; below 1 that is of no use, and at 0 it would take the step.
        if not math.isfinite(norm) and (not self.scaler.is_enabled() or self.scaler.get_scale() < 1):
            raise self._diverged(f"The gradient is {norm}")
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema:
            self.ema.update(self.step + 1)
        return norm

    def _agree(self, loss: torch.Tensor, bad: list[tuple[str, str]]) -> float:
        """The mean loss of all processes, and what only some of them have seen: a loss that is no number, bad clips.

        All learn of it in the same step, so that all stop, or none.
        """
        new = {name: reason for name, reason in bad if name not in self.bad}
        total, num_new = self.group.sums(torch.stack([loss, loss.new_tensor(len(new))]))
        if num_new:
            self.bad |= self.group.union(new)
        if not math.isfinite(total):
            raise self._diverged(f"The loss is {total}")
        return total / self.group.world

    def _diverged(self, what: str) -> Exception:
        """The weights are still those of the step before; nothing of this one is kept."""
        return self.group.said_once(
            TrainError(
                f"{what} at step {self.step + 1}: go on from the last state with --resume auto and a lower optim.lr, "
                "or with precision.amp=bf16 if it is fp16."
            )
        )

    # ---- what is attached to the UNet ----

    def attach(self, num_frames: int) -> None:
        """Put everything into the UNet. Modules stay in place from step to step; the backward pass needs them too."""
        if num_frames != self._attached_frames:
            self.detach()
            self._attached.enter_context(self.stage.in_training(num_frames))
            self._attached_frames = num_frames

    def detach(self) -> None:
        """Leave the UNet as it was; the next step attaches everything anew."""
        self._attached.close()
        self._attached_frames = 0

    @contextmanager
    def as_exported(self) -> Iterator[None]:
        """The weights that go into the exported file, and a UNet with nothing in it, also afterwards."""
        self.detach()
        try:
            with _uncompiled(), self.ema.in_place() if self.ema else nullcontext():
                yield
        finally:
            self.detach()

    # ---- state ----

    def state(self) -> State:
        return {
            "step": self.step,
            "stage": self.stage.name,
            "trained": self.stage.trained.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.means if self.ema else None,
        }

    def restore(self, state: State) -> None:
        """Raises `TrainError` where the state is of a model with other sizes, or of another optimizer."""
        try:
            if state["config"]["optim.name"] != self.config.optim.name:
                raise ValueError(f"its optimizer is {state['config']['optim.name']}")
            self.stage.trained.load_state_dict(state["trained"])
            restore_optimizer(self.optimizer, state["optimizer"], self.config.optim)
        except (RuntimeError, ValueError, KeyError) as error:
            raise TrainError(
                f"The state of step {state['step']} is of another model or optimizer ({str(error).splitlines()[0]}): "
                "go on with the options of that run (motion.family, lora.rank, base.checkpoint, optim.name)."
            ) from error
        if self.scaler.is_enabled() and state["scaler"]:  # empty, if that run needed none
            self.scaler.load_state_dict(state["scaler"])
        if self.ema:
            means = state["ema"] or [parameter.detach() for parameter in self.parameters]
            for mean, saved in zip(self.ema.means, means, strict=True):
                mean.copy_(saved)
        self.step = state["step"]


@contextmanager
def _uncompiled() -> Iterator[None]:
    """Compiled blocks have the hooks in them that were there when they were compiled, and do not ask for others."""
    set_stance = getattr(torch.compiler, "set_stance", None)  # torch 2.6
    with set_stance("force_eager") if set_stance else nullcontext():
        yield


def _anchor(num_frames: int, key: tuple[int | str, ...]) -> int:
    return torch.randint(num_frames, (), generator=generator(*key, "anchor")).item()


def _distributed(denoiser: Denoiser, group: Processes) -> DistributedDataParallel:
    devices = [group.device] if group.device.type == "cuda" else None
    # Buffers are tables of positions, the same everywhere: to send them at each step would be for nothing.
    known = inspect.signature(DistributedDataParallel).parameters
    sync = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # before torch 2.13
    return DistributedDataParallel(denoiser, device_ids=devices, gradient_as_bucket_view=True, **{sync: False})


def _compile_blocks(stage: Stage) -> None:
    """Block by block: the hooks around the blocks stay ordinary Python."""
    for module in stage.spatial.unet.modules():
        if type(module).__name__ == "BasicTransformerBlock":
            module.compile()
    if stage.motion is not None:
        for module in stage.motion.modules():
            if type(module).__name__ == "TemporalTransformerBlock":
                module.compile()


class Deadline:
    """``run.minutes`` from now."""

    def __init__(self, minutes: float):
        self._end = time.monotonic() + 60 * minutes if minutes else math.inf

    def __bool__(self) -> bool:
        return time.monotonic() >= self._end
