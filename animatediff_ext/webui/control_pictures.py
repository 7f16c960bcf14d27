"""The pictures that guide a ControlNet unit: folders, videos and lists, as files that ControlNet can open.

``batch_images`` of a unit is, as the old extension had it, a text of lines

    /path/of/the/pictures
    mask:/path/of/the/masks
    keyframe:0,6,12

or the same as a dictionary, ``{"images": …, "mask": …, "keyframe": [0, 6, 12]}``, or a list of pictures.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from animatediff_ext.media import MediaError, kind_of, pictures_in, read_frames
from animatediff_ext.webui import host
from animatediff_ext.webui.errors import AnimateDiffError

_KEYS = ("images", "mask", "keyframe")


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """In order: one for each frame, or one for each key frame."""

    name: str
    """What sentences call them."""
    files: Sequence[Path]
    masks: Sequence[Path] = ()
    keys: Sequence[int] = ()
    """Frames of the clip; empty where every frame has a picture."""

    def checked(self, num_frames: int) -> None:
        """Raises `AnimateDiffError` if a clip of so many frames cannot be guided by them."""
        if self.keys and len(self.keys) != len(self.files):
            raise AnimateDiffError(
                f"{self.name} has {len(self.files)} pictures for {len(self.keys)} key frames: give one for each."
            )
        if self.keys and max(self.keys) >= num_frames:
            raise AnimateDiffError(
                f"{self.name} has a key frame {max(self.keys)}, but the clip has the frames 0 to {num_frames - 1}: "
                "lower the key frame, or raise Number of frames (video_length)."
            )
        wanted = len(self.keys) or num_frames
        if self.masks and 1 < len(self.masks) < wanted:
            raise AnimateDiffError(
                f"{self.name} has {len(self.masks)} masks for {wanted} pictures: give one for each, or one for all."
            )


class Stage:
    """Files for pictures that are none yet, in a temporary folder that `close` removes."""

    def __init__(self):
        self._folder: tempfile.TemporaryDirectory | None = None
        self._number = itertools.count()
        self._to_remove: list[Path] = []

    def folder(self) -> Path:
        """A new, empty one."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(
                prefix="animatediff-controlnet-", dir=host.temporary_folder(), ignore_cleanup_errors=True
            )
        folder = Path(self._folder.name) / str(next(self._number))
        folder.mkdir()
        return folder

    def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
        for folder in self._to_remove:
            shutil.rmtree(folder, ignore_errors=True)
        self._to_remove = []

    def frames(self, path: str, name: str, limit: int | None) -> list[Path]:
        """The pictures of a folder where they are, or the frames of a video as files: at most ``limit`` of these.

        Raises `AnimateDiffError`.
        """
        path = os.path.expanduser(path.strip().strip('"'))  # Windows copies paths with quotes
        try:
            if kind_of(path) == "folder":
                return pictures_in(Path(path))
            return self.written(itertools.islice(read_frames(path), limit), self._folder_of(path))
        except MediaError as problem:
            raise AnimateDiffError(f"{name}: {problem}") from problem

    def _folder_of(self, video: str) -> Path:
        """For its frames: in the folder of the settings, where they stay unless the settings say otherwise."""
        chosen = host.setting("animatediff_frame_extract_path")
        if not chosen:
            return self.folder()
        folder = Path(chosen).expanduser() / f"{Path(video).stem}-{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True)
        if host.setting("animatediff_frame_extract_remove"):
            self._to_remove.append(folder)
        return folder

    def written(self, pictures: Iterable[np.ndarray | Image.Image], folder: Path | None = None) -> list[Path]:
        """One PNG for each, hardly packed: they are read once and mostly removed."""
        folder, files = folder or self.folder(), []
        for number, picture in enumerate(pictures):
            if isinstance(picture, np.ndarray):
                picture = Image.fromarray(picture)
            files.append(folder / f"{number:06}.png")
            picture.save(files[-1], compress_level=1)
        return files

    def copied(self, files: Sequence[Path]) -> Path:
        """A folder with nothing but these files, in this order."""
        folder = self.folder()
        for number, file in enumerate(files):
            shutil.copyfile(file, folder / f"{number:06}{file.suffix}")
        return folder


def pictures_of_batch(value: Any, stage: Stage, name: str, *, limit: int | None) -> Pictures:
    """What a unit's ``batch_images`` says. Raises `AnimateDiffError`."""
    images, mask, keys = _taken_apart(value, name)
    masks = stage.frames(mask, f"{name}, mask", None) if mask else ()
    keys = _key_frames(keys, name)
    if isinstance(images, str):
        return Pictures(name=name, files=stage.frames(images, name, None if keys else limit), masks=masks, keys=keys)
    listed = [image if isinstance(image, Mapping) else {"image": image} for image in images]
    own_masks = [image["mask"] for image in listed if image.get("mask") is not None]
    if own_masks and len(own_masks) != len(listed):
        raise AnimateDiffError(f"{name} has {len(own_masks)} masks for {len(listed)} pictures: give one for each.")
    files = _files(stage, [image.get("image") for image in listed], name)
    return Pictures(name=name, files=files, masks=_files(stage, own_masks, name) or masks, keys=keys)


def _taken_apart(value: Any, name: str) -> tuple[str | Sequence, str, Any]:
    """Pictures (a path or a list), path of masks, key frames."""
    if isinstance(value, Mapping):
        unknown = sorted(set(map(str, value)) - set(_KEYS))
        if unknown or not value.get("images"):
            raise AnimateDiffError(
                f"batch_images of {name} has {', '.join(map(repr, unknown)) or 'no images'}: give "
                '{"images": …} with a path or a list of pictures, and if wanted "mask" and "keyframe".'
            )
        return value["images"], str(value.get("mask") or ""), value.get("keyframe")
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        is_text = len(value) == 1 or any(item.strip().startswith(("mask:", "keyframe:")) for item in value)
        value = "\n".join(value) if is_text else list(value)
    if isinstance(value, (list, tuple)):
        return value, "", None
    if not isinstance(value, str):
        raise AnimateDiffError(
            f"batch_images of {name} is {value!r}: give the path of a folder, or a list of pictures."
        )
    path, *lines = [line.strip() for line in value.splitlines() if line.strip()] or [""]
    found = {}
    for line in lines:
        kind, colon, rest = line.partition(":")
        if not colon or kind not in ("mask", "keyframe"):
            raise AnimateDiffError(
                f"batch_images of {name} has the line {line!r}: lines after the path begin with mask: or keyframe:."
            )
        found[kind] = rest.strip()
    return path, found.get("mask", ""), found.get("keyframe")


def _key_frames(given: Any, name: str) -> list[int]:
    if given is None or given == "":
        return []
    try:
        parts = given.split(",") if isinstance(given, str) else [given] if isinstance(given, int) else list(given)
        keys = [int(str(part).strip()) for part in parts]
    except (TypeError, ValueError) as problem:
        raise AnimateDiffError(
            f"{name} has the key frames {given!r}: give whole numbers, such as 0, 6, 12."
        ) from problem
    if not keys or min(keys) < 0 or len({*keys}) < len(keys):
        raise AnimateDiffError(f"{name} has the key frames {given!r}: give each frame once, the first being 0.")
    return keys


def _files(stage: Stage, images: Sequence[Any], name: str) -> list[Path]:
    """Of paths, base64 texts, arrays and pictures."""
    if images and all(isinstance(image, (str, os.PathLike)) and _is_file(image) for image in images):
        return [Path(image) for image in images]
    return stage.written(opened(image, f"{name}, picture {number}") for number, image in enumerate(images))


def _is_file(text: str | os.PathLike) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # base64 text is too long for a path
        return False


def opened(image: Any, name: str) -> Image.Image:
    """A path, base64 text, an array or a picture, decoded. Raises `AnimateDiffError`; ``name`` begins its sentence."""
    try:
        picture = _as_picture(image)
        picture.load()
    except Exception as problem:  # whatever was sent, one sentence says what is wanted
        shown = image if isinstance(image, str) and len(image) < 200 else "what was sent"
        raise AnimateDiffError(f"{name}: {shown} is no picture: give the path of one, or base64 text.") from problem
    return picture if picture.mode in ("L", "RGB", "RGBA") else picture.convert("RGB")


def _as_picture(image: Any) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, np.ndarray):
        return Image.fromarray(image)
    if _is_file(image):
        return Image.open(image)
    from modules.api.api import decode_base64_to_image  # loads the API, which the page does not need

    return decode_base64_to_image(image)
