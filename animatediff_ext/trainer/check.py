"""``train check``: the resolved run, its size, its data, without training."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from animatediff_ext.standalone.devices import idle_gpu
from animatediff_ext.trainer.base import amp_dtype, name_of
from animatediff_ext.trainer.config import Config
from animatediff_ext.trainer.config_file import as_text
from animatediff_ext.trainer.loop import Trainer
from animatediff_ext.trainer.material import Material, gather
from animatediff_ext.trainer.memory import estimate
from animatediff_ext.trainer.processes import Processes, own_device
from animatediff_ext.trainer.run import build


def check(stage: str, config: Config, world: int = 1) -> Iterator[str]:
    """Lines for the user, as they are found out. Raises what the run itself would raise."""
    yield as_text(config)
    yield ""
    material = gather(config, world, stills=stage == "adapter")
    yield material.report()
    if sentence := idle_gpu():
        yield sentence
    device = own_device()
    # The models stay in main memory: a GPU may be at work on another run, and an estimate needs shapes only.
    trainer = build(stage, config, Processes(), material, amp_dtype(config.precision, device))
    try:
        yield _parameters(trainer)
        yield _steps(material, config)
        yield _memory(trainer, device)
    finally:
        trainer.detach()


def _parameters(trainer: Trainer) -> str:
    trained = sum(parameter.numel() for parameter in trainer.parameters)
    base = sum(parameter.numel() for parameter in trainer.stage.spatial.unet.parameters())
    return f"{trained / 1e6:,.3f} million parameters are trained; the frozen UNet has {base / 1e6:,.3f} million."


def _steps(material: Material, config: Config) -> str:
    plan = material.plan
    passes = config.run.steps / plan.steps_per_pass
    return (
        f"{config.run.steps:,} steps of {plan.global_batch} clips; one pass over the data takes "
        f"{plan.steps_per_pass:,}, so there are {passes:,.1f}."
    )


def _memory(trainer: Trainer, device: torch.device) -> str:
    need = estimate(trainer)
    gib = {name: getattr(need, name) / 2**30 for name in ("total", "frozen", "trained", "activations")}
    return (
        f"About {gib['total']:.2f} GiB for each process on a {'CPU' if device.type == 'cpu' else 'GPU'}, with products "
        f"in {name_of(trainer.amp)} (precision.amp): {gib['frozen']:.2f} for frozen models, {gib['trained']:.2f} for "
        f"what is trained and its optimizer, {gib['activations']:.2f} for activations of the largest bucket."
    )
