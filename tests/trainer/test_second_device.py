"""Training on another device than the CPU: nothing stays behind, and what is learnt is what the CPU learns."""

import json
from dataclasses import replace
from unittest import mock

import pytest
import torch

from animatediff_ext.trainer import processes
from animatediff_ext.trainer.config import Config
from animatediff_ext.trainer.run import train
from tests import second_device

STAGES = {
    "adapter": {"sample__buckets": '["64x64x1"]'},
    "motion": {"ema__decay": 0.9, "sample__accumulate": 2, "cache__folder": "cache", "sample__starts": 2},
    "lora": {"lora__debiased": "true", "diffusion__min_snr": 5, "diffusion__noise_offset": 0.1},
}


@pytest.fixture(scope="module")
def run():
    with second_device.processes() as run:
        yield run


def losses(stage: str, config: Config, device: str) -> list[float]:
    """Of a run that was resumed before its last step, those of validation among them."""
    begun = replace(config, run=replace(config.run, steps=config.run.steps - 1))
    with mock.patch.object(processes, "own_device", return_value=torch.device(device)):
        train(stage, begun)
        train(stage, config, resume="auto")
    with open(f"{config.run.output}/log.jsonl") as log:
        return [value for line in log for name, value in json.loads(line).items() if "loss" in name]


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_learnt_is_the_same_on_another_device(runs, run, stage, motion_module):
    options = {"run__steps": 2, "log__every": 1, "validate__every": 1, "validate__clips": 1, **STAGES[stage]}
    if stage == "lora":
        options |= {"motion__init": motion_module}
    found = {}
    for device in ("cpu", second_device.NAME):
        if "cache__folder" in options:
            options |= {"cache__folder": runs.folder / f"cache of {device}"}
        config = runs.config(stage, **options, run__output=runs.folder / device)
        found[device] = losses(stage, config, "cpu") if device == "cpu" else run(losses, stage, config, device)
    assert len(found["cpu"]) >= 4, "of both steps, and of validation after each"
    assert found[second_device.NAME] == pytest.approx(found["cpu"], rel=1e-3)
