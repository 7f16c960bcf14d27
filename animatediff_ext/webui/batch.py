"""The tab *Batch* of img2img: with AnimateDiff on, its pictures are the frames of one video.

The WebUI has no hook for that; so its function is replaced, and given back when scripts are unloaded. ControlNet
replaces it too, and calls ours by the old extension's name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from modules import images, img2img, infotext_utils, patches, processing, scripts, sd_models, shared
from PIL import Image, UnidentifiedImageError

from animatediff_ext.webui import frame_masks
from animatediff_ext.webui.errors import AnimateDiffError
from animatediff_ext.webui.request import argument_of

_PATCH = (__name__, img2img, "process_batch")
_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
"""Of pictures, as the WebUI's own function has them."""


def take_over() -> None:
    if patches.original(*_PATCH) is None:
        patches.patch(*_PATCH, _process_batch)


def give_back() -> None:
    if patches.original(*_PATCH) is not None:
        patches.undo(*_PATCH)


def _process_batch(p, *args, **kwargs):
    argument = argument_of(p)
    if argument is not None and argument.enable:
        return animatediff_i2i_batch(p, *args, **kwargs)
    return patches.original(*_PATCH)(p, *args, **kwargs)


def animatediff_i2i_batch(
    p,
    input,
    output_dir: str,
    inpaint_mask_dir: str,
    args: Sequence[Any],
    to_scale: bool = False,
    scale_by: float = 1.0,
    use_png_info: bool = False,
    png_info_props: Sequence[str] | None = None,
    png_info_dir: str | None = None,
):
    """In place of the WebUI's ``process_batch``, with its arguments: a folder, or what was uploaded.

    Raises `AnimateDiffError` for a folder that cannot be a video.
    """
    argument = argument_of(p)
    argument.is_i2i_batch = True
    files = _pictures_in(input, "The input directory") if isinstance(input, str) else _uploaded(input)
    masks = _masks_for(files, inpaint_mask_dir.strip()) if inpaint_mask_dir and inpaint_mask_dir.strip() else []
    if len(files) == 1:
        raise AnimateDiffError(
            f"Only {files[0].name} was found to animate: give a picture for each frame, or use the tab img2img for a "
            "video from a single picture."
        )
    number = _number_of_frames(p, argument, len(files))
    files, masks = files[:number], masks if len(masks) == 1 else masks[:number]

    processing.fix_seed(p)
    p.init_images = [_opened(file) for file in files]
    if to_scale:
        width, height = p.init_images[0].size
        p.width, p.height = int(width * scale_by), int(height * scale_by)
    if len(masks) == 1:
        p.image_mask = _opened(masks[0])
    elif masks:
        frame_masks.give(p, [_opened(mask) for mask in masks])
    if masks and not argument.mask_path:  # for ControlNet's units
        argument.mask_path = inpaint_mask_dir.strip()
    if use_png_info:
        _take_settings(p, files[0], png_info_props or (), png_info_dir)
    if output_dir.strip():
        p.outpath_samples = output_dir.strip()
        p.override_settings["save_to_dirs"] = False
        p.override_settings["samples_filename_pattern"] = f"{files[0].stem}-[generation_number]"

    processed = scripts.scripts_img2img.run(p, *args)
    return _as_many_as_are_shown(processing.process_images(p) if processed is None else processed)


def _number_of_frames(p, argument, number: int) -> int:
    """All pictures, or as many as were asked for."""
    try:
        wanted = int(argument.video_length or 0)
    except (TypeError, ValueError):
        return number  # which is refused when the animation begins, with a sentence
    if wanted > number:
        p.comment(f"Number of frames is {wanted}, but there are {number} pictures: the video has {number} frames.")
        argument.video_length = number
    return wanted if 0 < wanted < number else number


def _pictures_in(folder: str, name: str) -> list[Path]:
    """In their natural order, with those of folders inside. Raises `AnimateDiffError`."""
    folder = folder.strip()
    if not folder:
        raise AnimateDiffError(f"{name} is empty: give the path of a folder with a picture for each frame.")
    if not Path(folder).is_dir():
        raise AnimateDiffError(f"{name} {folder!r} is not there: give the path of a folder on the server.")
    files = [Path(file) for file in shared.walk_files(folder, allowed_extensions=_ENDINGS)]
    if not files:
        raise AnimateDiffError(f"{name} {folder!r} has no pictures: put them there ({', '.join(_ENDINGS)}).")
    return files


def _uploaded(files: Sequence[Any]) -> list[Path]:
    """As the browser sends them, which is any order."""
    found = [Path(file if isinstance(file, str) else file.name) for file in files or ()]
    if not found:
        raise AnimateDiffError("No pictures were uploaded: choose one for each frame.")
    return sorted(found, key=lambda file: [int(part) if part.isdigit() else part for part in _parts(file.name)])


def _parts(name: str) -> list[str]:
    return re.split(r"(\d+)", name.lower())


def _masks_for(files: Sequence[Path], folder: str) -> list[Path]:
    """One, or one for each picture: by name where they are called alike, else by order. Raises `AnimateDiffError`."""
    masks = _pictures_in(folder, "The inpaint batch mask directory")
    if len(masks) == 1:
        return masks
    by_name = {mask.stem: mask for mask in masks}
    if len(by_name) == len(masks) and all(file.stem in by_name for file in files):
        return [by_name[file.stem] for file in files]
    if len(masks) != len(files):
        raise AnimateDiffError(
            f"There are {len(masks)} masks in {folder!r} for {len(files)} pictures: give one for each, one of the same "
            "name for each, or one for all."
        )
    return masks


def _opened(file: Path) -> Image.Image:
    try:
        picture = images.read(file)
        picture.load()
    except (UnidentifiedImageError, OSError) as problem:
        raise AnimateDiffError(f"{file} cannot be read as a picture: replace it, or take it out.") from problem
    return picture


def _take_settings(p, file: Path, wanted: Sequence[str], folder: str | None) -> None:
    """What the infotext of the first picture says, of what is wanted. Where it has none, settings stay."""
    picture = _opened(Path(folder) / file.name if folder else file)
    infotext, _ = images.read_info_from_image(picture)
    said = infotext_utils.parse_generation_parameters(infotext) if infotext else {}
    said = {name: value for name, value in said.items() if name in wanted}
    for name, field in (("Prompt", "prompt"), ("Negative prompt", "negative_prompt")):
        if name in said:
            setattr(p, field, f"{getattr(p, field)} {said[name]}")
    numbers = {"Seed": ("seed", int), "CFG scale": ("cfg_scale", float), "Steps": ("steps", int)}
    for name, (field, kind) in {**numbers, "Sampler": ("sampler_name", str)}.items():
        with suppress(KeyError, ValueError):  # not said, or by somebody who means something else by it
            setattr(p, field, kind(said[name]))
    checkpoint = sd_models.get_closet_checkpoint_match(said.get("Model hash"))
    if checkpoint is not None:
        p.override_settings["sd_model_checkpoint"] = checkpoint.name


def _as_many_as_are_shown(processed):
    most = int(shared.opts.img2img_batch_show_results_limit)
    if processed is not None and 0 <= most < len(processed.images):
        processed.images, processed.infotexts = processed.images[:most], processed.infotexts[:most]
    return processed
