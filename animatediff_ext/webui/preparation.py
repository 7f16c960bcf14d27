"""What a request asks of an animation, with all that it needs found, read and checked, before sampling begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from modules.processing import StableDiffusionProcessingImg2Img

from animatediff_ext.animate import advice_for, blend_of, check_motion
from animatediff_ext.inject.attach import Blend
from animatediff_ext.params import Animation
from animatediff_ext.save import check_output
from animatediff_ext.webui import arguments, changes, host, loras, models, xyz
from animatediff_ext.webui.controlnet import Guidance
from animatediff_ext.webui.errors import AnimateDiffError
from animatediff_ext.webui.job import Progress
from animatediff_ext.webui.models import CACHE, Loaded
from animatediff_ext.webui.settings import encode_options

_LATENT_UPSCALE = 3
"""The WebUI's number for *Just resize (latent upscale)*, which resizes no pictures."""
_TILED = ("SD upscale", "Poor man's outpainting", "Outpainting mk2")
"""The WebUI's scripts that want one picture for each tile."""


@dataclass(frozen=True)
class Prepared:
    animation: Animation
    """With its number of frames settled."""
    loaded: Sequence[Loaded]
    guidance: Guidance
    """To be closed by whoever gets it."""
    progress: Progress


def prepared_for(p, script_args: Sequence, changed: Mapping[str, Any]) -> Prepared | None:
    """None where AnimateDiff is off. Raises `AnimateDiffError`, or what reading files raises; nothing is open then."""
    is_img2img = isinstance(p, StableDiffusionProcessingImg2Img)
    animation, warnings = arguments.parse(script_args, is_img2img=is_img2img, over=xyz.values_of(p) | changed)
    if not animation.enabled:
        return None
    for warning in warnings:
        p.comment(warning)
    if getattr(p, "txt2img_upscale", False):
        p.comment(
            "✨ upscales a single image, so AnimateDiff was not used: for a larger video, tick Hires. fix and generate "
            "again."
        )
        return None
    if host.selected_script(p) in _TILED:
        p.comment(
            f"{host.selected_script(p)} puts single pictures together, so AnimateDiff was not used: choose none for a "
            "video."
        )
        return None
    if host.rival():
        raise AnimateDiffError(
            f"The extension {host.rival()} is installed as well, and only one of the two can animate: "
            "disable one of them under Extensions."
        )
    check_output(animation, encode_options())
    animation = _with_listed_modules(animation)
    progress = Progress(animation, p.n_iter)
    loaded = CACHE.load(animation.motion_module, *filter(None, [animation.motion.second_module]))
    init_pictures = _several_pictures(p)
    guidance = Guidance(p, animation, init_pictures)
    try:
        animation = animation.resolved(_number_of_frames(p, animation, init_pictures, guidance))
        _check_sizes(p)
        guidance.apply(animation.num_frames)
        blend = blend_for(animation, loaded)
        check_motion(animation, blend)
        loras.check(animation)
    except Exception:
        guidance.close()
        raise
    sampling = {"sampler": p.sampler_name or "", "schedule": getattr(p, "scheduler", None) or "Automatic"}
    for sentence in advice_for(animation, blend, **sampling, cfg=p.cfg_scale, num_steps=p.steps):
        p.comment(sentence)
    return Prepared(animation, loaded, guidance, progress)


def blend_for(animation: Animation, loaded: Sequence[Loaded]) -> Blend:
    return blend_of([one.motion for one in loaded], animation)


def _with_listed_modules(animation: Animation) -> Animation:
    """Infotexts say no paths."""
    motion = replace(animation.motion, second_module=models.listed_as(animation.motion.second_module))
    return replace(animation, motion_module=models.listed_as(animation.motion_module), motion=motion)


def _several_pictures(p) -> list:
    """Several pictures in img2img are the frames of a video; of a single one, none."""
    pictures = getattr(p, "init_images", None) or []
    if isinstance(p, StableDiffusionProcessingImg2Img) and any(picture is None for picture in pictures or [None]):
        raise AnimateDiffError(
            "img2img has no picture: give it one, or a folder of frames in its tab Batch; a video that guides "
            "ControlNet needs no picture in txt2img."
        )
    if len({id(picture) for picture in pictures}) == 1:  # img2img's Batch tab repeats a picture for its batch size
        changes.change(p, init_images=pictures[:1])
        return []
    return pictures


def _number_of_frames(p, animation: Animation, pictures: list, guidance: Guidance) -> int | None:
    """The setting counts, as far as there are pictures for ControlNet; where it leaves it open, as many as there are
    pictures in img2img and for ControlNet."""
    wanted, shortest = animation.num_frames, guidance.shortest()
    guided = len(shortest.files) if shortest else None
    if pictures and wanted > len(pictures):
        raise AnimateDiffError(
            f"Number of frames is {wanted}, but only {len(pictures)} pictures were given: "
            "give as many pictures as frames, or a single one."
        )
    if guided and wanted > guided:
        p.comment(
            f"Number of frames is {wanted}, but {shortest.name} has {guided} pictures: the video has {guided} frames."
        )
    num_frames = min(filter(None, (wanted, guided, len(pictures))), default=None)
    if pictures:
        changes.change(p, init_images=pictures[:num_frames])
    return num_frames


def _check_sizes(p) -> None:
    """The frames of a video have one size; there are ways of img2img that give each that of its picture."""
    sizes = dict.fromkeys(picture.size for picture in getattr(p, "init_images", None) or [])
    if len(sizes) < 2:
        return
    if getattr(p, "image_mask", None) is not None and p.inpaint_full_res:
        if not host.setting("overlay_inpaint", True):  # nothing is pasted back into the picture
            return
        way, other = "Only masked", "Whole picture (inpaint_full_res false)"
    elif p.resize_mode == _LATENT_UPSCALE:
        way, other = "Just resize (latent upscale)", "another resize mode"
    else:
        return
    named = ", ".join(f"{width}×{height}" for width, height in sizes)
    raise AnimateDiffError(
        f"The pictures have sizes of {named}, but with {way} each frame keeps the size of its picture, and the frames "
        f"of a video have one: give pictures of one size, or choose {other}."
    )
