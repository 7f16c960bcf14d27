"""Optimizers by name, and the learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from animatediff_ext.trainer.config import Optim
from animatediff_ext.trainer.error import TrainError


def make_optimizer(options: Optim, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Raises `TrainError` where the package of an optimizer is missing."""
    return _OPTIMIZERS[options.name](
        list(parameters),
        lr=options.lr,
        betas=(options.beta1, options.beta2),
        eps=options.epsilon,
        weight_decay=options.weight_decay,
    )


def _adamw(parameters: list[nn.Parameter], **options) -> Optimizer:
    return torch.optim.AdamW(parameters, fused=parameters[0].is_cuda or None, **options)


def _adamw8bit(parameters: list[nn.Parameter], **options) -> Optimizer:
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise TrainError("optim.name is adamw8bit: `pip install bitsandbytes`, or set it to adamw.") from error
    return AdamW8bit(parameters, **options)


def _prodigy(parameters: list[nn.Parameter], **options) -> Optimizer:
    try:
        from prodigyopt import Prodigy
    except ImportError as error:
        raise TrainError("optim.name is prodigy: `pip install prodigyopt`, or set it to adamw.") from error
    return Prodigy(parameters, safeguard_warmup=True, use_bias_correction=True, **options)


_OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adamw": _adamw, "adamw8bit": _adamw8bit, "prodigy": _prodigy}


def restore_optimizer(optimizer: Optimizer, saved: Mapping[str, Any], options: Optim) -> None:
    """Load the moments of what ``state_dict`` gave; all else follows the options and the device of now.

    Raises `ValueError` where it is of another model.
    """
    now = {"betas": (options.beta1, options.beta2), "eps": options.epsilon, "weight_decay": options.weight_decay}
    now |= {name: value for name, value in optimizer.param_groups[0].items() if name == "fused"}
    optimizer.load_state_dict({**saved, "param_groups": [group | now for group in saved["param_groups"]]})


def set_learning_rate(optimizer: Optimizer, options: Optim, step: int, num_steps: int) -> float:
    """Give the optimizer the learning rate of one step, counted from 0, and return it.

    It follows from the step alone, so there is nothing to keep over a stop.
    """
    rate = options.lr * _share(options, step, num_steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def _share(options: Optim, step: int, num_steps: int) -> float:
    if step < options.warmup:
        return (step + 1) / options.warmup
    done = (step - options.warmup) / max(1, num_steps - options.warmup)
    return DECAYS[options.schedule](min(1.0, done))


DECAYS: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}
"""Share of the run after the warm-up → share of the learning rate."""
