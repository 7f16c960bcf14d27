"""Where a video goes and what it is called: by the patterns that the WebUI has for pictures.

With the WebUI's own settings that is ``…/AnimateDiff/2024-01-31/00012-1234567-request``, as the old extension named
its files.
"""

from __future__ import annotations

import copy
import datetime
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from modules import images, shared
from PIL.Image import Image

from animatediff_ext.media import ENDINGS

_LONGEST = 255
"""Bytes of a file name, where the file system does not say."""
_LONGEST_PATH = 259 if os.name == "nt" else None
"""Of a file, since Windows takes longer ones only where it was told to."""
_SHORTEST = 20


@dataclass(frozen=True, kw_only=True)
class Named:
    """What the patterns can know of one video."""

    number: int
    """Which of the videos of this generation it is, from 0."""
    seed: int
    prompt: str
    picture: Image
    """The first frame."""
    request_id: str = ""


def root(p) -> Path:
    """The folder that all videos are in, with others inside."""
    return Path(p.outpath_samples) / "AnimateDiff"


def new_stem(p, video: Named) -> Path:
    """The path of a video's files without their endings. Its folder is made."""
    opts = shared.opts
    by_pattern = opts.animatediff_webui_names
    if not by_pattern:
        folder, name, numbered = datetime.date.today().isoformat(), str(video.seed), True
    else:
        applied = _generator(p, video).apply
        folder = applied(opts.directories_filename_pattern or "[prompt_words]") if opts.save_to_dirs else ""
        name = applied(opts.samples_filename_pattern or ("[seed]" if opts.save_to_dirs else "[seed]-[prompt_spaces]"))
        numbered = opts.save_images_add_number or not name
    *inside, name = _inside(name) or [""]
    place = root(p).joinpath(*_inside(folder.strip(" ")), *inside)
    place.mkdir(parents=True, exist_ok=True)
    name = "-".join(filter(None, [name, video.request_id]))
    if numbered:
        number = images.get_next_sequence_number(str(place), "")
        return _free(place, name, numbers=itertools.count(number))
    # Whatever *Saving the image to an existing file* says: "Replace" is the WebUI's default, and a video takes long.
    return _free(place, name)


def _generator(p, video: Named) -> images.FilenameGenerator:
    """A video is one result of a batch of one, although its frames were a batch of many."""
    seen = copy.copy(p)
    seen.batch_size, seen.batch_index, seen.iteration = 1, 0, video.number
    seen.prompt = video.prompt
    return images.FilenameGenerator(seen, video.seed, video.prompt, video.picture)


def _inside(path: str) -> list[str]:
    """The parts of a relative path that does not lead out of where it starts."""
    parts = PurePath(path)
    return [part for part in parts.parts if part not in (parts.anchor, "..")]


def _free(place: Path, name: str, numbers: Iterator[int] | None = None) -> Path:
    """A stem of which no file is there yet, with a number in front, or behind if need be."""
    if numbers is not None:
        tried = (_short(place, "-".join(filter(None, [f"{number:05}", name]))) for number in numbers)
    else:
        tried = (_short(place, name, f"-{number}" if number else "") for number in itertools.count())
    return next(place / stem for stem in tried if not _is_taken(place, stem))


def _is_taken(place: Path, stem: str) -> bool:
    return any((place / f"{stem}{ending}").exists() for ending in ENDINGS.values())


def _short(place: Path, name: str, behind: str = "") -> str:
    """Both, ``name`` cut to what the file system takes, endings included."""
    longest = os.statvfs(place).f_namemax if hasattr(os, "statvfs") else _LONGEST
    if _LONGEST_PATH:
        frame = "/00000.png"  # the path of a frame is longer than that of any file beside it
        longest = min(longest, max(_SHORTEST, _LONGEST_PATH - len(f"{place.absolute()}/{frame}")))
    longest -= max(map(len, ENDINGS.values())) + len(behind)
    return name.encode("utf-8")[:longest].decode("utf-8", "ignore").rstrip(" .") + behind
