"""`load_spatial_model`: an image model from a file or folder, with no network where the files are there."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from animatediff_ext.standalone.error import SpatialModelError
from animatediff_ext.standalone.folder import load_folder
from animatediff_ext.standalone.single_file import load_single_file
from animatediff_ext.standalone.spatial import SpatialModel

PREDICTIONS = ("auto", "epsilon", "v")
_WEIGHTS_OF_PARTS = ("diffusion_pytorch_model", "model", "pytorch_model")


def load_spatial_model(
    path: str | Path,
    *,
    vae: str | Path | None = None,
    tokenizer: str | Path | None = None,
    prediction: Literal["auto", "epsilon", "v"] = "auto",
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> SpatialModel:
    """Stable Diffusion 1.5 or SDXL, from the folder of a diffusers pipeline or from one file (safetensors or ckpt).

    ``vae`` is another VAE, a file or a folder. ``tokenizer`` is a folder with vocab.json and merges.txt or
    tokenizer.json, or OpenAI's bpe_simple_vocab_16e6.txt.gz; without it a file's tokenizer is looked for in
    ``<stem>.tokenizer`` and ``tokenizer`` beside it, then in the Hugging Face cache, then in the network. A
    ``<stem>.yaml`` beside a file may say what its tensors cannot (`ldm_yaml`).

    Raises `SpatialModelError`, or `formats.FormatError` from a file that cannot be read at all.
    """
    if prediction not in PREDICTIONS:
        raise SpatialModelError(f"The prediction is {prediction!r}: give one of {', '.join(PREDICTIONS)}.")
    path = _existing(path, "image model").absolute()
    _check_whole(path)
    load = load_folder if path.is_dir() else load_single_file
    model = load(
        path,
        vae=_existing(vae, "VAE") if vae else None,
        tokenizer=Path(tokenizer) if tokenizer else None,
        prediction=prediction,
    )
    _check_fits(model)
    return model.to(device, dtype)


def _existing(path: str | Path, what: str) -> Path:
    path = Path(path)
    if path.exists():
        return path
    raise SpatialModelError(f"The {what} {path} is not there: give a file or folder that is.")


def _check_whole(path: Path) -> None:
    """Raises `SpatialModelError` for a part of a diffusers pipeline."""
    folder = path if path.is_dir() else path.parent
    is_part = path.is_dir() or path.name.partition(".")[0] in _WEIGHTS_OF_PARTS
    if is_part and (folder / "config.json").is_file() and not (folder / "model_index.json").is_file():
        raise SpatialModelError(
            f"{path.relative_to(folder.parent).as_posix()} is one part of a diffusers pipeline: "
            "give the folder with model_index.json."
        )


def _check_fits(model: SpatialModel) -> None:
    """Raises `SpatialModelError` where the parts do not belong together."""
    channels, latent_channels = model.unet.config.in_channels, model.vae.config.latent_channels
    if channels != latent_channels:
        raise SpatialModelError.about(
            model.path,
            f"has a UNet that takes {channels} channels, but latents have {latent_channels}: it is an inpainting or "
            "editing model. Give the text-to-image model that it was made from.",
        )
    wanted = model.unet.config.cross_attention_dim
    given = sum(encoder.config.hidden_size for encoder in model.text_encoders)
    if wanted != given:
        raise SpatialModelError.about(
            model.path,
            f"has a UNet that reads text of {wanted} channels, but text encoders that give {given}: they are parts of "
            "different models. Download it again, or give another one.",
        )
