"""A tiny random base model, a few drawn clips, and runs of them."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from animatediff_ext.trainer.config import Config
from animatediff_ext.trainer.config_file import read_config
from animatediff_ext.trainer.loop import Trainer
from animatediff_ext.trainer.material import Material, gather
from animatediff_ext.trainer.processes import Processes
from animatediff_ext.trainer.run import build
from tests.models.motion import random_motion
from tests.models.spatial import half_of_the_layers, write_folder
from tests.trainer.drawn import write_clips


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Tiny models lose time to threads, and results must not depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    """A diffusers folder of SD 1.5's layout, with half of its layers: these tests take many steps."""
    return write_folder(tmp_path_factory.mktemp("base") / "tiny", "SD 1.5", **half_of_the_layers())


@pytest.fixture(scope="session")
def sdxl_base(tmp_path_factory) -> Path:
    return write_folder(tmp_path_factory.mktemp("base") / "tiny-xl", "SDXL")


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), 5)


@pytest.fixture(scope="session")
def motion_module(tmp_path_factory, base) -> Path:
    """A random motion module that fits the base."""
    from animatediff_ext.formats import save_motion_module
    from animatediff_ext.standalone import load_spatial_model
    from animatediff_ext.trainer.stages import new_motion_config

    path = tmp_path_factory.mktemp("motion") / "random.safetensors"
    config = new_motion_config(load_spatial_model(base).unet, "v3")
    save_motion_module(random_motion(config), path, dtype=torch.float32)
    return path


@dataclass
class Runs:
    """Makes configurations and trainers for one test."""

    folder: Path
    options: dict[str, object]

    def settings(self, **changed) -> list[str]:
        """``--set`` arguments; in names, two underscores stand for the point."""
        options = self.options | {name.replace("__", "."): value for name, value in changed.items()}
        return [f"{name}={value}" for name, value in options.items()]

    def words(self, **changed) -> list[str]:
        """The same for a command line."""
        return [word for setting in self.settings(**changed) for word in ("--set", setting)]

    def config(self, stage: str, **changed) -> Config:
        return read_config(stage, None, self.settings(**changed))

    def trainer(self, stage: str, **changed) -> Trainer:
        return self.made(stage, **changed)[0]

    def made(self, stage: str, **changed) -> tuple[Trainer, Material]:
        config = self.config(stage, **changed)
        material = gather(config, 1, stills=stage == "adapter")
        return build(stage, config, Processes(), material), material


@pytest.fixture
def runs(tmp_path, base, clips, motion_module) -> Runs:
    return Runs(
        folder=tmp_path,
        options={
            "run.output": tmp_path / "run",
            "run.steps": 6,
            "base.checkpoint": base,
            "data.path": clips,
            "motion.init": "",
            "lora.rank": 4,
            "sample.buckets": '["64x64x4"]',
            "sample.stride": 2,
            "sample.workers": 0,
            "validate.every": 0,
            "log.tensorboard": "false",
            "precision.gradient_checkpointing": "false",
        },
    )
