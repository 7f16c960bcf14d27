"""Files from a state, without going on with its run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from animatediff_ext.trainer.base import load_base
from animatediff_ext.trainer.config_file import config_of
from animatediff_ext.trainer.export import export
from animatediff_ext.trainer.stages import STAGES
from animatediff_ext.trainer.state import load_state


def export_state(path: Path, *, folder: Path | None = None, dtype: str | None = None) -> list[Path]:
    """Write what a state holds, its running mean if it has one; by default where its run would have written it."""
    state = load_state(path)
    config = config_of(state["config"])
    if dtype:
        config = replace(config, export=replace(config.export, dtype=dtype))
    stage = STAGES[state["stage"]](load_base(config.base, torch.device("cpu"), torch.float32), config)
    stage.trained.load_state_dict(state["trained"])
    if state["ema"]:
        for parameter, mean in zip(stage.trained.parameters(), state["ema"], strict=True):
            parameter.data.copy_(mean)
    return export(stage, config, state["step"], folder=folder)
