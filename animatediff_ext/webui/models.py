"""The motion modules on disk, and the one that is in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modules import hashes, paths

from animatediff_ext.catalogue import known_by_file_name, motion_module_folders
from animatediff_ext.formats import load_motion_module
from animatediff_ext.motion import MotionModel
from animatediff_ext.webui import host
from animatediff_ext.webui.errors import AnimateDiffError
from animatediff_ext.webui.host import EXTENSION

ENDINGS = {".safetensors", ".ckpt", ".pth", ".pt", ".bin"}
_ADAPTER = "config.json"
"""The file that makes a folder a diffusers MotionAdapter."""
_OF_THE_PROJECT = EXTENSION / "model" / "toy"
"""Comes with the extension, and fits no checkpoint that users have; `toy install` puts it where it is wanted."""


def folders() -> list[Path]:
    """Where motion modules are looked for: the one of the settings or our own, then those of the old extension."""
    return motion_module_folders(host.setting("animatediff_model_path"), EXTENSION, Path(paths.extensions_dir))


def names() -> list[str]:
    """All motion modules, as paths relative to their folder; a folder in diffusers' format is one module."""
    return sorted({name for folder in folders() for name in _names_in(folder)}, key=str.lower)


def _names_in(folder: Path) -> Iterator[str]:
    for root, inside, files in os.walk(folder, followlinks=True):
        place = Path(root).relative_to(folder)
        if Path(root) == _OF_THE_PROJECT:
            inside.clear()
            continue
        if place.parts and _ADAPTER in files:
            inside.clear()
            yield place.as_posix()
        else:
            yield from ((place / name).as_posix() for name in files if Path(name).suffix.lower() in ENDINGS)


def listed_as(name: str) -> str:
    """What the list calls a module: clients on Windows know it with other separators, and the old extension took whole
    paths too."""
    name = name.replace("\\", "/")
    for folder in folders():
        start = f"{folder.as_posix()}/"
        if os.path.normcase(name).startswith(os.path.normcase(start)):
            return name[len(start) :]
    return name


def find(name: str) -> Path:
    """The file of a name from the list. Raises `AnimateDiffError` if there is none, with what there is."""
    name = listed_as(name)
    for folder in folders():
        # only what the list has: a name comes from a request and must not lead out of the folder
        if name in _names_in(folder):
            return folder / name
    known = names()
    published = known_by_file_name(name)
    get = (
        "open *Download motion modules* in the page, or run python -m animatediff_ext models get "
        f"{published.file_name if published else 'mm_sd15_v3.safetensors'}"
    )
    if not known:
        raise AnimateDiffError(f"There is no motion module in {folders()[0]}: {get}, or put one of your own there.")
    raise AnimateDiffError(
        f"Motion module {name!r} was not found in {folders()[0]}: choose from {', '.join(known)}"
        f"{f', or {get}' if published else ''}."
    )


def short_hash(name: str, path: Path, *, read: bool = True) -> str | None:
    """First 8 digits of the SHA-256, as infotexts have it; None for a folder or where hashing is off. Without ``read``
    also where the file would have to be read for it."""
    if path.is_dir():
        return None
    digest = (hashes.sha256 if read else hashes.sha256_from_cache)(str(path), f"AnimateDiff/{name}")
    return digest[:8] if digest else None


@dataclass(frozen=True)
class Loaded:
    name: str
    path: Path
    modified: float
    motion: MotionModel


class ModuleCache:
    """Keeps the motion modules of the last animation in main memory, so that the next one need not read them again."""

    def __init__(self):
        self._loaded: dict[tuple[Path, float], Loaded] = {}

    def load(self, *names: str) -> list[Loaded]:
        """All that one animation needs. Others go before any is read, so that there are never more in memory."""
        wanted = {}
        for name in names:
            path = find(name)
            wanted[path, path.stat().st_mtime] = name
        # The page may clear the cache while files are read here.
        kept = self._loaded = {key: loaded for key, loaded in self._loaded.items() if key in wanted}
        for (path, modified), name in wanted.items():
            if (path, modified) not in kept:
                kept[path, modified] = Loaded(name, path, modified, load_motion_module(path))
        return [kept[key] for key in wanted]

    def clear(self) -> None:
        self._loaded = {}


CACHE = ModuleCache()
