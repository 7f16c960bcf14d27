"""The image model as a diffusers pipeline on disk: a folder with ``model_index.json`` and one folder for each part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from animatediff_ext.motion import IMAGE_SCHEDULE, NoiseSchedule
from animatediff_ext.standalone.diffusers_part import load_part
from animatediff_ext.standalone.error import SpatialModelError
from animatediff_ext.standalone.spatial import Base, SpatialModel
from animatediff_ext.standalone.tokenizer import load_tokenizer
from animatediff_ext.standalone.vae import LATENT_SCALE, load_vae, vae_of_folder

_PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v"}


def load_folder(root: Path, *, vae: Path | None, tokenizer: Path | None, prediction: str) -> SpatialModel:
    """Raises `SpatialModelError`."""
    _json(root / "model_index.json", root)
    base = _base_of(root)
    scheduler = _scheduler(root)
    encoders = [load_part(CLIPTextModel, root / "text_encoder")]
    if base == "SDXL":
        encoders.append(load_part(CLIPTextModelWithProjection, root / "text_encoder_2"))
    return SpatialModel(
        unet=load_part(UNet2DConditionModel, root / "unet"),
        vae=load_vae(vae, LATENT_SCALE[base]) if vae else vae_of_folder(root),
        text_encoders=encoders,
        tokenizer=load_tokenizer(tokenizer or root / "tokenizer", encoders[0].config.vocab_size),
        base=base,
        prediction=_prediction(root, scheduler) if prediction == "auto" else prediction,
        path=root,
        schedule=_schedule(root, scheduler),
    )


def _json(file: Path, root: Path) -> dict[str, Any]:
    where = file.relative_to(root.parent).as_posix()
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise SpatialModelError(
            f"{where} is not there: give the folder of a whole diffusers pipeline, or a checkpoint in one file."
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise SpatialModelError(f"{where} is damaged ({error}): download the folder again.") from error


def _base_of(root: Path) -> Base:
    """What the pipeline is, by its parts. Raises `SpatialModelError` if it is not one for us."""
    if (root / "transformer").is_dir():
        raise SpatialModelError.about(root, "has a transformer, not a UNet (SD3, Flux, …): give SD 1.5 or SDXL.")
    unet = _json(root / "unet" / "config.json", root)
    if unet.get("addition_embed_type") == "text_time" and (root / "text_encoder_2").is_dir():
        if (root / "text_encoder").is_dir():
            return "SDXL"
        raise SpatialModelError.about(root, "is the refiner of SDXL, which is not supported: give SDXL itself.")
    # SD 2 is SD 1.5's structure with linear projections, around open_clip's text encoder
    if unet.get("addition_embed_type") or unet.get("use_linear_projection"):
        raise SpatialModelError.about(root, "is neither SD 1.5 nor SDXL (SD 2?): give one of these.")
    return "SD 1.5"


def _scheduler(root: Path) -> dict[str, Any]:
    """What the folder says of sampling; empty where it says nothing."""
    file = root / "scheduler" / "scheduler_config.json"
    return _json(file, root) if file.is_file() else {}


def _prediction(root: Path, scheduler: dict[str, Any]) -> str:
    said = scheduler.get("prediction_type", "epsilon")
    if said in _PREDICTIONS:
        return _PREDICTIONS[said]
    raise SpatialModelError.about(root, f"predicts {said!r}: models that predict epsilon or v are supported.")


def _schedule(root: Path, scheduler: dict[str, Any]) -> NoiseSchedule:
    try:
        return NoiseSchedule(
            kind=scheduler.get("beta_schedule", IMAGE_SCHEDULE.kind),
            beta_start=scheduler.get("beta_start", IMAGE_SCHEDULE.beta_start),
            beta_end=scheduler.get("beta_end", IMAGE_SCHEDULE.beta_end),
        )
    except ValueError as error:
        raise SpatialModelError.about(
            root, f"has a noise schedule that is not supported: {error}. Correct scheduler/scheduler_config.json."
        ) from error
