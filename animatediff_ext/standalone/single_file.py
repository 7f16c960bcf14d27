"""The image model in one file, as the WebUI's users have it: SD 1.5 or SDXL in LDM's layout."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_open_clip_checkpoint,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizerFast

from animatediff_ext.formats.kind import kind_of
from animatediff_ext.standalone.assemble import assembled, check_complete
from animatediff_ext.standalone.checkpoint import CLIP, OPEN_CLIP, UNET, Checkpoint, dropped
from animatediff_ext.standalone.error import SpatialModelError
from animatediff_ext.standalone.ldm_layout import clip_config, open_clip_config, unet_config
from animatediff_ext.standalone.ldm_yaml import CHANNELS_PER_HEAD, LdmYaml, yaml_beside
from animatediff_ext.standalone.spatial import Base, SpatialModel
from animatediff_ext.standalone.tokenizer import find_tokenizer, load_tokenizer
from animatediff_ext.standalone.vae import LATENT_SCALE, load_vae, vae_inside

SD15_HEADS = 8
"""``num_heads`` of v1-inference.yaml; SDXL has heads of 64 channels."""

_WANTED = "give a Stable Diffusion 1.5 or SDXL checkpoint, or the folder of a diffusers pipeline."
_OTHER_NETS = {"joint_blocks.": "an SD3 model", "double_blocks.": "a Flux model"}
_OTHER_ENCODERS = {
    "conditioner.embedders.0.model.": "the refiner of SDXL",
    "cond_stage_model.model.": "a Stable Diffusion 2 checkpoint",
}
_OF_OPEN_CLIP = {
    "token_embedding.weight",
    "positional_embedding",
    "ln_final.weight",
    "ln_final.bias",
    "text_projection",
}


def load_single_file(path: Path, *, vae: Path | None, tokenizer: Path | None, prediction: str) -> SpatialModel:
    """Raises `SpatialModelError`, or `FormatError` from a file that cannot be read at all."""
    checkpoint = Checkpoint(path)
    base = base_of(checkpoint)
    known = yaml_beside(path)
    scale = known.latent_scale or LATENT_SCALE[base]
    words = _tokenizer(checkpoint, base, known, tokenizer)
    return SpatialModel(
        unet=_unet(checkpoint, base, known),
        vae=load_vae(vae, scale) if vae else vae_inside(checkpoint, scale),
        text_encoders=_text_encoders(checkpoint, base, known, words),
        tokenizer=words,
        base=base,
        prediction=_prediction(checkpoint, known) if prediction == "auto" else prediction,
        path=path,
        schedule=known.schedule,
    )


def base_of(checkpoint: Checkpoint) -> Base:
    """What the checkpoint is, by the names in it. Raises `SpatialModelError` if it is not one for us."""
    if not checkpoint.has(f"{UNET}input_blocks."):
        raise _not_a_checkpoint(checkpoint)
    for mark, what in _OTHER_ENCODERS.items():
        if checkpoint.has(mark):
            raise _not_supported(checkpoint.path, what)
    if checkpoint.has(OPEN_CLIP):
        return "SDXL"
    if checkpoint.has(CLIP["SD 1.5"]):
        return "SD 1.5"
    raise SpatialModelError.about(checkpoint.path, "has a UNet but no text encoder inside: give a whole checkpoint.")


def _not_supported(path: Path, what: str) -> SpatialModelError:
    return SpatialModelError.about(path, f"is {what}, which is not supported: {_WANTED}")


def _not_a_checkpoint(checkpoint: Checkpoint) -> SpatialModelError:
    path, kind = checkpoint.path, kind_of(checkpoint.layout)
    if kind.name == "vae":
        return SpatialModelError.about(path, "is a VAE, not a checkpoint: give it as vae=, beside a checkpoint.")
    if kind.name not in ("checkpoint", "sdxl-checkpoint", "unknown"):
        return SpatialModelError.about(path, f"is {kind.what}, not a checkpoint: {_WANTED}")
    for mark, what in _OTHER_NETS.items():
        if checkpoint.has(mark) or checkpoint.has(UNET + mark):
            return _not_supported(path, what)
    return SpatialModelError.about(path, f"holds no UNet of Stable Diffusion: {_WANTED}")


def _prediction(checkpoint: Checkpoint, known: LdmYaml) -> str:
    # "v_pred" is an empty tensor that says so (sd-scripts, and the WebUI looks for it too)
    return "v" if known.predicts_v or "v_pred" in checkpoint.layout else "epsilon"


def _unet(checkpoint: Checkpoint, base: Base, known: LdmYaml) -> UNet2DConditionModel:
    part = checkpoint.part(UNET)
    pooled_width = checkpoint.part(OPEN_CLIP).shape("text_projection")[1] if base == "SDXL" else None
    usual = {"SD 1.5": lambda channels: SD15_HEADS, "SDXL": lambda channels: max(1, channels // CHANNELS_PER_HEAD)}
    config = unet_config(part, known.unet_heads(usual[base]), pooled_width)
    tensors = checkpoint.read(UNET)
    state = convert_ldm_unet_checkpoint(tensors, config)
    check_complete((), dropped(tensors, state), checkpoint.path, "UNet")
    return assembled(lambda: UNet2DConditionModel(**config), state, checkpoint.path, "UNet")


def _tokenizer(checkpoint: Checkpoint, base: Base, known: LdmYaml, given: Path | None) -> CLIPTokenizerFast:
    path = checkpoint.path
    vocab_size = checkpoint.part(CLIP[base]).shape("text_model.embeddings.token_embedding.weight")[0]
    if given:
        return load_tokenizer(given, vocab_size)
    beside = [path.with_suffix(".tokenizer"), path.parent / "tokenizer", known.version_folder(0)]
    return find_tokenizer([folder for folder in beside if folder], vocab_size)


def _text_encoders(checkpoint: Checkpoint, base: Base, known: LdmYaml, words: CLIPTokenizerFast) -> list:
    special = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
    first = _clip(checkpoint, CLIP[base], known, special)
    return [first] if base == "SD 1.5" else [first, _open_clip(checkpoint, known, special)]


def _clip(checkpoint: Checkpoint, prefix: str, known: LdmYaml, special: dict[str, int]) -> CLIPTextModel:
    part = checkpoint.part(f"{prefix}text_model.")
    config = CLIPTextConfig(**clip_config(part, known.text_heads(0)), **special)
    state = convert_ldm_clip_checkpoint(checkpoint.read(prefix))
    return assembled(lambda: CLIPTextModel(config), state, checkpoint.path, "text encoder")


def _open_clip(checkpoint: Checkpoint, known: LdmYaml, special: dict[str, int]) -> CLIPTextModelWithProjection:
    part = checkpoint.part(OPEN_CLIP)
    unknown = [name for name in part if name not in _OF_OPEN_CLIP and not name.startswith("transformer.")]
    check_complete((), unknown, checkpoint.path, "second text encoder")
    config = CLIPTextConfig(**open_clip_config(part, known.text_heads(1)), **special)
    with torch.device("meta"):
        layout = CLIPTextModelWithProjection(config)  # the converter looks at it
    state = convert_open_clip_checkpoint(layout, checkpoint.read(OPEN_CLIP), prefix=OPEN_CLIP)
    return assembled(lambda: CLIPTextModelWithProjection(config), state, checkpoint.path, "second text encoder")
