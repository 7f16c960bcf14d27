"""The VAE: from inside a checkpoint, from a file of its own, or from a diffusers folder."""

from __future__ import annotations

from pathlib import Path

from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

from animatediff_ext.formats.kind import kind_of
from animatediff_ext.standalone.assemble import assembled, check_complete
from animatediff_ext.standalone.checkpoint import VAE, Checkpoint, dropped
from animatediff_ext.standalone.diffusers_part import load_part
from animatediff_ext.standalone.error import SpatialModelError
from animatediff_ext.standalone.ldm_layout import vae_config
from animatediff_ext.standalone.spatial import Base

LATENT_SCALE: dict[Base, float] = {"SD 1.5": 0.18215, "SDXL": 0.13025}
"""``scale_factor`` of CompVis' v1-inference.yaml and of Stability's sd_xl_base.yaml."""


def vae_inside(checkpoint: Checkpoint, scale: float) -> AutoencoderKL:
    if not checkpoint.has(f"{VAE}decoder."):
        raise SpatialModelError.about(checkpoint.path, "has no VAE inside: give vae= a VAE's file or diffusers folder.")
    return _ldm_vae(checkpoint, VAE, scale)


def load_vae(path: Path, scale: float) -> AutoencoderKL:
    """From a file in LDM's layout (a whole checkpoint too), or from diffusers' folder, which says its own scale."""
    if path.is_dir():
        return vae_of_folder(path)
    if (path.parent / "config.json").is_file() and path.stem.startswith("diffusion_pytorch_model"):
        return vae_of_folder(path.parent)
    file = Checkpoint(path)
    prefix = VAE if file.has(f"{VAE}decoder.") else ""
    if file.has(f"{prefix}decoder.up_blocks."):
        raise SpatialModelError.about(path, "is a VAE in diffusers' layout: give the folder with its config.json.")
    if not file.has(f"{prefix}decoder.up."):
        raise SpatialModelError.about(path, f"is {kind_of(file.layout).what}, not a VAE: give another vae=.")
    return _ldm_vae(file, prefix, scale)


def _ldm_vae(file: Checkpoint, prefix: str, scale: float) -> AutoencoderKL:
    config = vae_config(file.part(prefix), scale)
    # `loss.` are weights of the VAE's own training, `model_ema.` a copy
    training = (f"{prefix}loss.", f"{prefix}model_ema.")
    tensors = {name: tensor for name, tensor in file.read(prefix).items() if not name.startswith(training)}
    state = convert_ldm_vae_checkpoint(tensors, config)
    check_complete((), dropped(tensors, state), file.path, "VAE")
    return assembled(lambda: AutoencoderKL(**config), state, file.path, "VAE")


def vae_of_folder(folder: Path) -> AutoencoderKL:
    """From a VAE's folder, or from a pipeline with one in it."""
    return load_part(AutoencoderKL, folder / "vae" if (folder / "model_index.json").is_file() else folder)
