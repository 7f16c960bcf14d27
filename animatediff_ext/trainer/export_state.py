"""Files from a state, without going on with its run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from animatediff_ext.trainer.base import load_base
from animatediff_ext.trainer.config import Adapter
from animatediff_ext.trainer.config_file import config_of
from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.export import export
from animatediff_ext.trainer.stages import STAGES
from animatediff_ext.trainer.state import FACTS, load_state


def export_state(path: Path, *, folder: Path | None = None, dtype: str | None = None) -> list[Path]:
    """Write what a state holds, its running mean if it has one; by default into the folder of its run.

    Raises `TrainError` where the base model is not the one of the run.
    """
    state = load_state(path)
    options = {name: value for name, value in state["config"].items() if name not in FACTS}
    config = replace(config_of(options), adapter=Adapter())  # it is in place in training only
    if dtype:
        config = replace(config, export=replace(config.export, dtype=dtype))
    stage = STAGES[state["stage"]](load_base(config.base, torch.device("cpu"), torch.float32), config)
    try:
        stage.trained.load_state_dict(state["trained"])
    except RuntimeError as error:
        raise TrainError(
            f"{path} is of another base model than {config.base.checkpoint} is now: put that of the run back."
        ) from error
    if state["ema"]:
        for parameter, mean in zip(stage.trained.parameters(), state["ema"], strict=True):
            parameter.data.copy_(mean)
    return export(stage, config, state["step"], folder=folder or path.absolute().parent.parent)
