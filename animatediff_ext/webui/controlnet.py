"""Which pictures guide the units of the extension ControlNet (Mikubill/sd-webui-controlnet, checked with 1.1.455).

A unit that has a picture keeps it for all frames. One that has a folder of its own, or nothing where there is a video,
gets a hint for each frame: through the mode that ControlNet has for AnimateDiff, which this sets in copies of the units
for this one request. How hints reach the rows of the UNet is in `control_hints`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from modules import errors
from modules.processing import StableDiffusionProcessingImg2Img
from torch import nn

from animatediff_ext.params import Animation, Source
from animatediff_ext.webui import changes, host
from animatediff_ext.webui.control_pictures import Pictures, Stage, opened, pictures_of_batch
from animatediff_ext.webui.errors import AnimateDiffError

_INTERFACES = ("internal_controlnet.external_code", "scripts.external_code")
"""Where versions of ControlNet keep what other extensions may call."""


class Guidance:
    """What guides one animation. Raises `AnimateDiffError` where something is missing; `close` it afterwards."""

    def __init__(self, p, animation: Animation, init_pictures: Sequence = ()):
        """``init_pictures``: of img2img, where there are several; they are the frames then."""
        self._p = p
        self._stage = Stage()
        self._script = host.script_titled("ControlNet", p)
        self._units: list[Any] = []
        self._pictures: dict[int, Pictures] = {}
        self._closed_loop = animation.context.closed_loop in ("R+P", "A")
        self._last_error = _newest_error()
        try:
            self._prepare(animation, init_pictures)
        except BaseException:
            self.close()
            raise

    @property
    def script(self):
        return self._script

    @property
    def closed_loop(self) -> bool:
        """Whether what travels between key frames goes over from the last to the first."""
        return self._closed_loop

    def shortest(self) -> Pictures | None:
        """The source with the fewest pictures, of those that have one for every frame."""
        sources = [found for found in self._pictures.values() if not found.keys]
        return min(sources, key=lambda found: len(found.files), default=None)

    def keys_of(self, unit, num_frames: int) -> Sequence[int] | None:
        """Of an IP-Adapter's unit: the frames that have a picture. None where all frames share one."""
        for number, found in self._pictures.items():
            if self._units[number] is unit:
                return found.keys or range(num_frames)
        return None

    # ------------------------------------------------------------------------------------------ before the generation

    def _prepare(self, animation: Animation, init_pictures: Sequence) -> None:
        source = animation.source
        given = "Video path" if source.frames_folder else "Video source" if source.video else ""
        if self._script is None:
            if given:  # as in the example that the old extension's document gives for its API
                self._p.comment(
                    f"{given} guides nothing, since ControlNet is not installed: install the extension "
                    "sd-webui-controlnet and enable a unit."
                )
            return
        args = self._p.script_args[self._script.args_from : self._script.args_to]
        self._units = [_as_unit(arg, number) for number, arg in enumerate(args)]
        enabled = [number for number, unit in enumerate(self._units) if getattr(unit, "enabled", False)]
        without = []
        for number in enabled:
            unit, name = self._units[number], f"ControlNet unit {number}"
            if _has_picture(unit):
                for text in _texts(unit.image):  # ControlNet fails without a word on what is no picture
                    opened(text, name)
                _set(unit, animatediff_batch=False, batch_images=None)
                if not (_mode(unit) == "MERGE" and isinstance(unit.image, (list, tuple))):
                    _use_simple_mode(unit)
            elif _has_folder(unit):
                limit = animation.num_frames or None
                self._pictures[number] = pictures_of_batch(unit.batch_images, self._stage, name, limit=limit)
            else:
                without.append(number)
        if without:
            self._share(without, animation, init_pictures)
        elif given:
            self._p.comment(f"{given} guides nothing: enable a ControlNet unit that has no picture of its own.")
        self._mask(source)

    def _share(self, numbers: Sequence[int], animation: Animation, init_pictures: Sequence) -> None:
        """Give units without a picture the frames of the video."""
        shortest = self.shortest()
        limits = [animation.num_frames, len(shortest.files) if shortest else 0, len(init_pictures)]
        limit = min(filter(None, limits), default=None)
        source = animation.source
        if source.frames_folder:
            files, name = self._stage.frames(source.frames_folder, "Video path", limit), "Video path"
        elif source.video:
            if not isinstance(source.video, str):
                raise AnimateDiffError(f"Video source is {source.video!r}: give the path of a video.")
            files, name = self._stage.frames(source.video, "Video source", limit), "Video source"
        elif init_pictures:
            files, name = self._stage.written(init_pictures[:limit]), "img2img"
        elif isinstance(self._p, StableDiffusionProcessingImg2Img):  # ControlNet takes img2img's picture
            for number in numbers:
                _set(self._units[number], animatediff_batch=False, image=None, mask=None)
                _use_simple_mode(self._units[number])
            return
        else:
            raise AnimateDiffError(
                f"ControlNet unit {numbers[0]} is enabled but has no picture: give it one, or a folder in Batch "
                "(batch_images), or give a video in Video source or Video path."
            )
        for number in numbers:
            self._pictures[number] = Pictures(name=name, files=files)

    def _mask(self, source: Source) -> None:
        """Give units that mask, and have no masks of their own, those of *Mask path*."""
        if not source.masks_folder or not self._pictures:
            return
        masks = self._stage.frames(source.masks_folder, "Mask path", None)
        found = {n: one for n, one in self._pictures.items() if not one.masks and _uses_masks(self._units[n])}
        self._pictures |= {number: replace(one, masks=masks) for number, one in found.items()}
        if not found and not _is_masked(self._p):  # those of img2img's Batch are used in any case
            self._p.comment("Mask path masks nothing: enable a ControlNet unit for inpainting.")

    def apply(self, num_frames: int) -> None:
        """Set up the units for a clip of so many frames. Raises `AnimateDiffError`."""
        if not self._units:
            return
        for number, found in self._pictures.items():
            found.checked(num_frames)
            if _is_masked(self._p) and getattr(self._p, "inpaint_full_res", False):
                self._p.comment(
                    f"Inpaint area Only masked enlarges a part of each frame, but {found.name} guides it with whole "
                    "pictures: choose Whole picture (inpaint_full_res false), or give pictures of that part alone."
                )
            self._guide(self._units[number], found, found.files[: len(found.keys) or num_frames])
        script, args = self._script, list(self._p.script_args)
        args[script.args_from : script.args_to] = self._units
        # `sample_before_CN_hack`: ControlNet keeps the first p.sample that it meets, also where p is processed again
        changes.change(self._p, script_args_value=type(self._p.script_args)(args), sample_before_CN_hack=None)

    def _guide(self, unit, found: Pictures, files: Sequence[Path]) -> None:
        masks = list(found.masks) if len(found.masks) != 1 else [*found.masks] * len(files)
        _use_simple_mode(unit)
        if getattr(unit, "is_ipadapter", False):
            # Takes several pictures, and makes one hint of each. (ControlNet's mode for AnimateDiff fails in 1.1.455.)
            each = zip(files, masks or [None] * len(files), strict=False)
            pictures = [{"image": str(file), "mask": mask and str(mask)} for file, mask in each]
            _set(unit, image=pictures, mask=None, animatediff_batch=False, batch_images=None)
            return
        if not hasattr(unit, "animatediff_batch"):
            raise AnimateDiffError(
                "This version of ControlNet cannot guide frames one by one: update the extension sd-webui-controlnet."
            )
        lines = [str(files[0].parent)]
        if masks:
            lines.append(f"mask:{self._stage.copied(masks[: len(files)])}")
        # Without key frames a SparseCtrl takes the first picture alone; to other models it is the same.
        lines.append(f"keyframe:{','.join(map(str, found.keys or range(len(files))))}")
        chosen = [str(file) for file in files]  # and not whatever else is in the folder
        modifiers = [lambda _files, _p: list(chosen), *(getattr(unit, "batch_modifiers", None) or ())]
        batch = {"batch_images": "\n".join(lines), "batch_mask_dir": None, "batch_keyframe_idx": None}
        _set(unit, image=None, mask=None, animatediff_batch=True, batch_modifiers=modifiers, **batch)

    # --------------------------------------------------------------------------------------------- in the generation

    def network(self):
        """What ControlNet has put around the UNet, or None where no unit is enabled.

        Raises `AnimateDiffError` if it was to do so and could not, which the WebUI does not say.
        """
        network = getattr(self._script, "latest_network", None)
        enabled = [unit for unit in self._units if getattr(unit, "enabled", False)]
        if network is None and enabled:
            newest = _newest_error()
            is_new = newest is not None and newest is not self._last_error
            why = " ".join(str(newest["exception"]).split()) if is_new else ""
            # ControlNet says "model not found: None", whichever it was asked for
            models = ", ".join(repr(str(unit.model)) for unit in enabled)
            raise AnimateDiffError(
                f"ControlNet could not set up its units (with the models {models}): "
                f"{why.rstrip('.') or 'the console of the WebUI says why'}. Correct or disable them."
            )
        return network

    def models(self) -> list[nn.Module]:
        """Those that work within the calls of the UNet."""
        params = getattr(self.network(), "control_params", None) or ()
        return [param.control_model for param in params if isinstance(param.control_model, nn.Module)]

    def release(self) -> None:
        """After a failure: let ControlNet leave the UNet, as the WebUI would have done at a good end."""
        self.close()
        if getattr(self._script, "latest_network", None) is None:
            return
        try:
            self._script.postprocess(self._p, SimpleNamespace(images=[], extra_generation_params={}))
        except Exception:  # the failure that is being reported must not be hidden by this one
            errors.report("ControlNet could not leave the UNet after an error of an animation", exc_info=True)

    def close(self) -> None:
        """Remove the files that were made for ControlNet."""
        self._stage.close()


def _as_unit(arg: Any, number: int):
    """A copy of one of the script's arguments as ControlNet's own object."""
    interface = next((sys.modules[name] for name in _INTERFACES if name in sys.modules), None)
    if not isinstance(arg, dict) or interface is None:
        return copy(arg)
    try:
        return interface.to_processing_unit(arg)
    except Exception as problem:  # a validator of its choice
        why = " ".join(str(problem).split())
        raise AnimateDiffError(
            f"ControlNet does not take the arguments of unit {number} ({why}): correct them."
        ) from problem


def _is_masked(p) -> bool:
    return getattr(p, "image_mask", None) is not None


def _has_picture(unit) -> bool:
    if getattr(unit, "ipadapter_input", None) is not None:
        return True
    if not _is_meant(unit, "picture"):
        return False
    image = unit.image
    if isinstance(image, dict):
        image = image.get("image")
    if isinstance(image, (str, list, tuple)):
        return bool(image)
    return image is not None


def _has_folder(unit) -> bool:
    return bool(getattr(unit, "batch_images", None)) and _is_meant(unit, "folder")


def _is_meant(unit, what: Literal["picture", "folder"]) -> bool:
    """The page sends what is in all of its tabs, and the folder of img2img's Batch where its own is empty: the chosen
    tab counts. A program says what it means."""
    return not getattr(unit, "is_ui", False) or (_mode(unit) == "BATCH") == (what == "folder")


def _texts(image: Any) -> Iterator[str]:
    """Paths and base64 texts in what a unit takes for its picture: one, with a mask, or several."""
    if isinstance(image, str) and image and not image.startswith(("http://", "https://")):
        yield image
    elif isinstance(image, Mapping):
        yield from _texts(image.get("image"))
    elif isinstance(image, (list, tuple)):
        for item in image:
            yield from _texts(item)


def _mode(unit) -> str:
    return getattr(getattr(unit, "input_mode", None), "name", "SIMPLE")


def _use_simple_mode(unit) -> None:
    """In its mode *Batch* ControlNet would generate once for each picture."""
    if hasattr(unit, "input_mode"):
        unit.input_mode = type(unit.input_mode).SIMPLE


def _uses_masks(unit) -> bool:
    """Others take a mask for a scribble that replaces the picture."""
    return bool(getattr(unit, "is_inpaint", False) or getattr(unit, "uses_clip", False))


def _set(unit, **fields: Any) -> None:
    for name, value in fields.items():
        if hasattr(unit, name):
            setattr(unit, name, value)


def _newest_error() -> dict[str, Any] | None:
    """Of those that the WebUI remembers."""
    found = errors.get_exceptions()
    return found[0] if isinstance(found, list) and found else None
