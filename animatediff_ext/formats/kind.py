"""What a file of tensors is, told by the names and shapes in it, and where it belongs.

Users put every file of this ecosystem into every folder; a wrong one should say what it is. The first kind that matches
wins, so a kind comes before those whose names it also has.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch


class Layout:
    """The tensors of a file by name, with their shapes."""

    def __init__(self, tensors: dict[str, torch.Tensor]):
        self.tensors = tensors

    @cached_property
    def _names(self) -> str:
        return "\n".join(self.tensors)

    def has(self, pattern: str) -> bool:
        """Whether any name has the pattern in it; ``^`` and ``$`` are the ends of a name."""
        return re.search(pattern, self._names, re.MULTILINE) is not None

    def width(self, pattern: str) -> int | None:
        """The second axis (input channels) of the first tensor whose name has the pattern."""
        shapes = (t.shape for name, t in self.tensors.items() if re.search(pattern, name))
        return next((shape[1] for shape in shapes if len(shape) > 1), None)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of file: "x.ckpt is {what}. {belongs}"."""

    name: str
    what: str
    belongs: str
    matches: Callable[[Layout], bool]


_MOTION = r"(?:motion_modules|temporal_attentions)[._]\d"
# to_q_lora.down (official, diffusers then), to_q.lora_A (diffusers now), lora_unet_…_to_q.lora_down (kohya), LyCORIS
_LORA = r"[._]lora[._](?:up|down|A|B)\b|^lora_(?:unet|te\d?)_|\.(?:hada|lokr)_w\d"
_CONTROLNET = (
    r"controlnet_cond_embedding\.|controlnet_down_blocks\.|(?:^|\.)input_hint_block\.|^control_model\.|zero_convs\."
)


def is_cameractrl(layout: Layout) -> bool:
    # hehao13/CameraCtrl: the pose enters motion modules' attention 0 through `processor.qkv_merge`
    return layout.has(r"processor\.qkv_merge\.|^pose_encoder_state_dict\.|encoder_down_conv_blocks\.")


def is_motionctrl(layout: Layout) -> bool:
    return layout.has(r"\.cc_projection\.")  # TencentARC/MotionCtrl: camera poses into the attention


def is_sparsectrl(layout: Layout) -> bool:
    # a ControlNet with motion modules of one attention (official sparse_controlnet.py): before "motion module"
    return layout.has(_CONTROLNET) and layout.has(_MOTION)


def is_animatelcm_i2v(layout: Layout) -> bool:
    return layout.has(r"(?:^|\.)img_encoder\.")  # G-U-N/AnimateLCM models/unet.py, with or without motion modules


def is_pia(layout: Layout) -> bool:
    # open-mmlab/PIA: latent 4 + mask 1 + image 4 = 9 input channels; an inpainting UNet has 9 too, but no motion
    return layout.width(r"(?:^|\.)conv_in\.weight$") == 9 and layout.has(_MOTION)


def is_fancyvideo(layout: Layout) -> bool:
    return layout.has(r"(?:^|\.)(?:fps_embedding|motion_embedding)\.") and layout.has(_MOTION)


def is_motion_module(layout: Layout) -> bool:
    # whatever else is in the file (a whole video UNet, optimizer state), except for LoRAs of motion modules
    return any(re.search(_MOTION, name) and not re.search(rf"{_LORA}|\.alpha$", name) for name in layout.tensors)


def is_motion_lora(layout: Layout) -> bool:
    return layout.has(_LORA) and layout.has(_MOTION)


def is_domain_adapter(layout: Layout) -> bool:
    # v3_sd15_adapter.ckpt: attention processors of the image layers, named without "unet."
    return layout.has(r"^(?:state_dict\.|module\.)*(?:down|up|mid)_block.*\.attentions\..*processor\.to_\w+_lora\.")


def is_lora(layout: Layout) -> bool:
    return layout.has(_LORA)


def is_ip_adapter(layout: Layout) -> bool:
    return layout.has(r"^ip_adapter\.") and layout.has(r"^image_proj\.")


def is_controlnet(layout: Layout) -> bool:
    return layout.has(_CONTROLNET) or layout.has(r"^lora_controlnet$|^lllite_unet|^adapter\.body\.|^body\.\d+\.")


def is_sdxl_checkpoint(layout: Layout) -> bool:
    return layout.has(r"model\.diffusion_model\.input_blocks\.") and layout.has(r"conditioner\.embedders\.")


def is_checkpoint(layout: Layout) -> bool:
    return layout.has(r"model\.diffusion_model\.") or layout.has(r"cond_stage_model\.")


def is_image_unet(layout: Layout) -> bool:
    return layout.has(r"(?:^|\.)down_blocks\.\d+\.resnets\.") and layout.has(r"(?:^|\.)time_embedding\.")


def is_vae(layout: Layout) -> bool:
    # LDM names its blocks encoder.down.0.block, diffusers encoder.down_blocks.0.resnets
    return layout.has(r"(?:^|\.)(?:encoder|decoder)\.(?:down|up|mid)[._]") and layout.has(r"(?:en|de)coder\.conv_in\.")


def is_embedding(layout: Layout) -> bool:
    # A1111 `string_to_param`, SD2's `emb_params`, SDXL's `clip_l` + `clip_g`, diffusers' lone "<token>"
    if layout.has(r"^string_to_param\.|^emb_params$|^clip_[lg]$"):
        return True
    return len(layout.tensors) == 1 and all(t.ndim in (1, 2) and t.shape[-1] in _TEXT_WIDTHS for t in _all(layout))


_TEXT_WIDTHS = (768, 1024, 1280)
"""The widths of the text encoders of SD 1.5, SD 2 and SDXL."""


def _all(layout: Layout):
    return layout.tensors.values()


_LORA_FOLDER = "It belongs in models/Lora; write <lora:its name:0.8> into the prompt"
_CONTROLNET_FOLDER = "It belongs in models/ControlNet; load it in a ControlNet unit."

MOTION_MODULE = Kind(name="motion-module", what="a motion module", belongs="", matches=is_motion_module)

KINDS: tuple[Kind, ...] = (
    Kind(
        name="cameractrl",
        what="a CameraCtrl model",
        belongs="CameraCtrl is not supported; camera moves come from motion LoRAs such as v2_lora_PanLeft.",
        matches=is_cameractrl,
    ),
    Kind(
        name="motionctrl",
        what="a MotionCtrl model",
        belongs="MotionCtrl is not supported; camera moves come from motion LoRAs such as v2_lora_PanLeft.",
        matches=is_motionctrl,
    ),
    Kind(name="sparsectrl", what="a SparseCtrl model", belongs=_CONTROLNET_FOLDER, matches=is_sparsectrl),
    Kind(
        name="animatelcm-i2v",
        what="the image-to-video version of AnimateLCM, or its image encoder",
        belongs="It is not supported; use AnimateLCM_sd15_t2v, and give the image in img2img.",
        matches=is_animatelcm_i2v,
    ),
    Kind(
        name="pia",
        what="a PIA model (an image UNet with 9 input channels)",
        belongs="PIA is not supported; use v3_sd15_mm, and give the image in img2img.",
        matches=is_pia,
    ),
    Kind(
        name="fancyvideo",
        what="a FancyVideo model",
        belongs="FancyVideo is not supported; use v3_sd15_mm, and give the image in img2img.",
        matches=is_fancyvideo,
    ),
    MOTION_MODULE,
    Kind(
        name="motion-lora",
        what="a motion LoRA",
        belongs=f"{_LORA_FOLDER}, and choose the motion module that it was made for.",
        matches=is_motion_lora,
    ),
    Kind(
        name="domain-adapter",
        what="the domain adapter of AnimateDiff v3 (a LoRA for the image layers)",
        belongs=f"{_LORA_FOLDER}, and choose v3_sd15_mm as the motion module.",
        matches=is_domain_adapter,
    ),
    Kind(name="lora", what="a LoRA for images", belongs=f"{_LORA_FOLDER}.", matches=is_lora),
    Kind(name="ip-adapter", what="an IP-Adapter", belongs=_CONTROLNET_FOLDER, matches=is_ip_adapter),
    Kind(name="controlnet", what="a ControlNet or T2I-Adapter", belongs=_CONTROLNET_FOLDER, matches=is_controlnet),
    Kind(
        name="sdxl-checkpoint",
        what="a whole SDXL checkpoint",
        belongs="It belongs in models/Stable-diffusion; choose it as the checkpoint, with a motion module for SDXL.",
        matches=is_sdxl_checkpoint,
    ),
    Kind(
        name="checkpoint",
        what="a whole Stable Diffusion checkpoint",
        belongs="It belongs in models/Stable-diffusion; choose it as the checkpoint, with a motion module for SD 1.5.",
        matches=is_checkpoint,
    ),
    Kind(
        name="image-unet",
        what="the UNet of an image model in diffusers' layout, without motion modules",
        belongs="It is one part of a diffusers pipeline; motion modules come in a file of their own.",
        matches=is_image_unet,
    ),
    Kind(name="vae", what="a VAE", belongs="It belongs in models/VAE; choose it in the settings.", matches=is_vae),
    Kind(
        name="embedding",
        what="a textual inversion embedding",
        belongs="It belongs in the folder embeddings; write its name into the prompt.",
        matches=is_embedding,
    ),
    Kind(
        name="unknown",
        what="of a kind that is not known here",
        belongs="Motion modules are files such as mm_sd_v15_v2, v3_sd15_mm or AnimateLCM_sd15_t2v.",
        matches=lambda layout: True,
    ),
)


def kind_of(tensors: dict[str, torch.Tensor]) -> Kind:
    """The kind of a file, by its tensors' names and shapes; of kind ``unknown`` where nothing fits."""
    layout = Layout(tensors)
    return next(kind for kind in KINDS if kind.matches(layout))
