"""What a run makes for the WebUI and other tools: files in the community's keys, with where they come from inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from animatediff_ext import __version__
from animatediff_ext.formats import save_lora, save_motion_module, sha256_of_file
from animatediff_ext.formats.container import WEIGHTS_OF_FOLDER
from animatediff_ext.formats.lora_file import Matrices
from animatediff_ext.standalone.spatial import SpatialModel
from animatediff_ext.trainer.config import Config
from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.stages import LowRankSet, Stage

BASE_HASH = "animatediff_base_sha256"
"""Key of the metadata."""


def export(stage: Stage, config: Config, step: int, *, folder: Path | None = None) -> list[Path]:
    """Write the trained weights as they are now; returns the files. Raises `TrainError` if the disk is full."""
    files = files_of(stage.name, config, folder=folder)
    dtype = getattr(torch, config.export.dtype)
    if not all(tensor.to(dtype).isfinite().all() for tensor in stage.trained.parameters()):
        raise TrainError(
            f"The trained weights have numbers that {config.export.dtype} cannot hold: `train export` the last state "
            "with --dtype bfloat16, or an earlier state if they are no numbers at all."
        )
    metadata = _metadata(stage, config, step)
    try:
        _EXPORTS[stage.name](stage, files, dtype, metadata)
    except OSError as error:
        raise TrainError(
            f"The result could not be written to {files[0].parent} ({error.strerror or error}): make room, then "
            "`train export` with the last state."
        ) from error
    return files


def files_of(stage: str, config: Config, *, folder: Path | None = None) -> list[Path]:
    """What `export` writes. An adapter has a second file, in the spelling of the WebUI's own LoRAs."""
    folder = folder or Path(config.run.output)
    endings = (".safetensors", "_webui.safetensors") if stage == "adapter" else (".safetensors",)
    return [folder / f"{config.run.name}{ending}" for ending in endings]


def _motion(stage: Stage, files: list[Path], dtype: torch.dtype, metadata: dict[str, str]) -> None:
    save_motion_module(stage.trained, files[0], dtype=dtype, metadata=metadata)


def _lora(stage: Stage, files: list[Path], dtype: torch.dtype, metadata: dict[str, str]) -> None:
    family = stage.motion.config.family.name
    save_lora(baked(stage.trained), files[0], dtype=dtype, metadata=metadata | {"animatediff_motion_family": family})


def _adapter(stage: Stage, files: list[Path], dtype: torch.dtype, metadata: dict[str, str]) -> None:
    official, webui = files
    save_lora(baked(stage.trained), official, dtype=dtype, metadata=metadata)
    save_lora(baked(stage.trained), webui, spelling="webui", dtype=dtype, metadata=metadata | _kohya_metadata(stage))


_EXPORTS: dict[str, Callable[..., None]] = {"adapter": _adapter, "motion": _motion, "lora": _lora}


def baked(trained: LowRankSet) -> dict[str, Matrices]:
    """The matrices with alpha / rank in ``up``, for which the official spelling has no other place."""
    return {name: (part.down.detach(), part.up.detach() * part.scale) for name, part in trained.additions.items()}


def _metadata(stage: Stage, config: Config, step: int) -> dict[str, str]:
    """Values are texts, as safetensors wants them."""
    sample = config.sample
    facts = {
        "animatediff_trainer": __version__,
        "animatediff_stage": stage.name,
        "animatediff_steps": step,
        "animatediff_sizes": ", ".join(sample.buckets),
        "animatediff_base": stage.spatial.title,
        BASE_HASH: base_hash(stage.spatial),
        "modelspec.title": config.run.name,
    }
    if stage.motion is not None:
        facts |= {"animatediff_fps": sample.fps} if sample.fps else {"animatediff_stride": sample.stride}
    if config.diffusion.zero_terminal_snr:
        facts["animatediff_zero_terminal_snr"] = "true"
    return {name: str(value) for name, value in facts.items() if value != ""}


def _kohya_metadata(stage: Stage) -> dict[str, str]:
    """What the WebUI shows of a LoRA, and by which it knows the model that it is for."""
    rank = next(iter(stage.trained.additions.values())).down.shape[0]
    return {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(rank),
        "ss_base_model_version": {"SD 1.5": "sd_v1", "SDXL": "sdxl_base_v1-0"}[stage.spatial.base],
        "ss_sd_model_name": stage.spatial.path.name,
    }


def base_hash(spatial: SpatialModel) -> str:
    """SHA-256 of the base model's file, of a folder its UNet's; empty where neither can be told."""
    folder = spatial.path / "unet"
    files = [spatial.path, *(folder / name for name in WEIGHTS_OF_FOLDER)]
    return next((sha256_of_file(file) for file in files if file.is_file()), "")
