"""Training whole networks: what the trainer's stages have no use for, since to them image models are given.

States and the keys of random numbers are the trainer's own, so that a part of the toy world goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from animatediff_ext.trainer.ema import Ema
from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.state import load_state, save_state, states_in

SAVE_EVERY = 200


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long, and how fast."""

    num_steps: int
    lr: float
    """Highest learning rate, reached after a twentieth of the steps, from where it falls to nothing."""
    ema: float = 0.0
    """Decay of the running mean of the weights that are the result; 0: the last weights are."""
    betas: tuple[float, float] = (0.9, 0.99)


def fit(name: str, network: nn.Module, loss: Callable[[int], torch.Tensor], plan: Plan, folder: Path) -> None:
    """Train ``network`` by ``loss(step)``, a scalar that depends on nothing but the step and the weights.

    States are kept in ``folder``, and the newest is gone on from.
    """
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=plan.lr, betas=plan.betas, weight_decay=1e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.lr, total_steps=plan.num_steps, pct_start=0.05)
    ema = Ema(network, plan.ema)
    first = 0
    if states := states_in(folder):
        state = load_state(states[-1], stage=name)
        if state["plan"] != asdict(plan):
            raise TrainError(f"{folder} has the state of another plan for {name}: remove it to begin anew.")
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        rate.load_state_dict(state["rate"])
        ema.means = state["ema"]
        first = state["step"]
    network.train()
    mean_loss = None
    with tqdm(total=plan.num_steps, initial=first, desc=name, unit="step", dynamic_ncols=True) as bar:
        for step in range(first, plan.num_steps):
            value = loss(step)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            rate.step()
            ema.update(step + 1)
            mean_loss = value.item() if mean_loss is None else 0.98 * mean_loss + 0.02 * value.item()
            bar.set_postfix_str(f"loss {mean_loss:.4f}", refresh=False)
            bar.update()
            done = step + 1
            if done % SAVE_EVERY == 0 and done < plan.num_steps:
                state = {"step": done, "stage": name, "network": network.state_dict(), "ema": ema.means}
                state |= {"plan": asdict(plan), "optimizer": optimizer.state_dict(), "rate": rate.state_dict()}
                save_state(folder, state, keep=1)
    for parameter, mean in zip(parameters, ema.means, strict=True):
        parameter.data = mean
    network.eval()
