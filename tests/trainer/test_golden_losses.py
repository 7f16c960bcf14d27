"""The first twenty losses of each stage, as they were when they were last looked at.

They change with the arithmetic of PyTorch, so they are kept for each of its minor versions; with another one the test
is skipped. With GOLDEN_LOSSES=write in the environment the test writes them for the one that is installed.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from animatediff_ext.media import WRITERS
from animatediff_ext.trainer.run import train
from tests.trainer.drawn import COLOURS, HEADINGS, disc

GOLDEN = Path(__file__).parents[1] / "golden" / "training_losses.json"
TORCH = ".".join(torch.__version__.split(".")[:2])

STAGES = {
    "adapter": {"sample__buckets": '["128x128x1"]', "sample__batch": 2},
    "motion": {"sample__buckets": '["128x128x2"]', "ema__decay": 0.9},
    "lora": {"sample__buckets": '["128x128x2"]', "lora__debiased": "true", "diffusion__min_snr": 5},
}


def write_gifs(folder: Path) -> Path:
    """Clips that every decoder reads alike."""
    for number, colour in enumerate(COLOURS):
        heading = list(HEADINGS)[number]
        frames = [np.ascontiguousarray(frame) for frame in disc(colour, heading, 12)]
        WRITERS["GIF"](frames, folder / f"{number}.gif", fps=10)
        (folder / f"{number}.txt").write_text(f"a {colour} disc moving {heading}")
    return folder


def losses_of(runs, stage: str, motion_module: Path) -> list[float]:
    more = {"motion__init": motion_module} if stage == "lora" else {}
    clips = write_gifs(runs.folder / "gifs")
    config = runs.config(
        stage, data__path=clips, run__output=runs.folder / stage, run__steps=20, log__every=1, **STAGES[stage], **more
    )
    train(stage, config)
    lines = (runs.folder / stage / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.parametrize("stage", STAGES)
def test_the_first_losses_are_those_of_before(runs, motion_module, stage):
    known = json.loads(GOLDEN.read_text())
    if os.environ.get("GOLDEN_LOSSES") == "write":
        known.setdefault(TORCH, {})[stage] = losses_of(runs, stage, motion_module)
        GOLDEN.write_text(json.dumps(known, indent=1) + "\n")
        return
    if TORCH not in known:
        pytest.skip(f"no losses are kept for PyTorch {TORCH}")
    torch.testing.assert_close(
        torch.tensor(losses_of(runs, stage, motion_module)), torch.tensor(known[TORCH][stage]), rtol=1e-4, atol=1e-4
    )
