"""Which family a motion module is of.

Tensors can tell v1, v2, v3, SDXL-beta, HotshotXL and AnimateLCM apart, by the layout and the position table. They
cannot tell AnimateDiff-Lightning from v2, nor a community fine-tune from the family it was tuned from; for these count,
in this order: the caller's choice, what our own exports say about themselves, the file's name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace

from animatediff_ext.formats.container import TensorFile
from animatediff_ext.formats.error import FormatError
from animatediff_ext.motion import FAMILIES, Family, NoiseSchedule

FAMILY_KEY = "animatediff_family"
SCHEDULE_KEY = "animatediff_noise_schedule"
"""Keys of our exports' metadata."""

# The image model, by the number of its UNet's down blocks.
_BASES = {4: "SD 1.5", 3: "SDXL"}


@dataclass(frozen=True, kw_only=True)
class Clues:
    """What a file's tensors tell about its family."""

    names: Iterable[str]
    """As the file spells them, without their prefix."""
    num_down: int
    """The number of down blocks with motion modules."""
    has_middle: bool
    num_positions: int | None
    """None where neither the file nor its config.json says it."""


def family_of(file: TensorFile, clues: Clues, chosen: str | None) -> Family:
    """The row of `FAMILIES`. Raises `FormatError` where the file leaves it open, or contradicts ``chosen``."""
    base = _BASES.get(clues.num_down)
    if chosen is not None:
        family = FAMILIES[chosen]
    elif FAMILY_KEY in file.metadata:
        family = _exported(file)
    elif base is None:
        raise FormatError.about(
            file.path,
            f"has motion modules in {clues.num_down} down blocks; those for SD 1.5 have 4, those for SDXL have 3. "
            f"If it is meant to be so, choose its family: {', '.join(FAMILIES)}.",
        )
    else:
        family = FAMILIES[_DETECT[base](file, clues)]
    if base and family.base != base:
        raise FormatError.about(
            file.path,
            f"has {clues.num_down} down blocks, as {base} has, so it is not of the family {family.name}, which is for "
            f"{family.base}: choose one of {', '.join(f.name for f in FAMILIES.values() if f.base == base)}.",
        )
    return family


def _exported(file: TensorFile) -> Family:
    """What our own export says of itself; it may have been trained on a noise schedule of its own."""
    name = file.metadata[FAMILY_KEY]
    if name not in FAMILIES:
        raise FormatError.about(
            file.path,
            f"says that it is of the family {name!r}, which this version does not know: update the extension, or "
            f"choose one of {', '.join(FAMILIES)}.",
        )
    if SCHEDULE_KEY not in file.metadata:
        return FAMILIES[name]
    try:
        return replace(FAMILIES[name], schedule=NoiseSchedule(**json.loads(file.metadata[SCHEDULE_KEY])))
    except (ValueError, TypeError) as error:
        raise FormatError.about(
            file.path, f"has a noise schedule that cannot be read ({error}): save it again."
        ) from error


def _detect_sd15(file: TensorFile, clues: Clues) -> str:
    if not clues.has_middle:
        return _by_length(file, clues, short="v1", long="v3")
    name = _telling_name(file)
    if "lightning" in name:
        return "lightning"
    # AnimateLCM's own file has no position table. In diffusers' names that says nothing: its converter drops the table
    # of every family, and its folders put one in; there the name must do.
    if "animatelcm" in name or (clues.num_positions is None and not _is_diffusers(clues)):
        return "animatelcm"
    return "v2"  # of any length: LongAnimateDiff has 32 or 64 positions


def _detect_sdxl(file: TensorFile, clues: Clues) -> str:
    if any("temporal_attentions." in name or ".positional_encoding" in name for name in clues.names):
        return "hotshot-xl"
    return _by_length(file, clues, short="hotshot-xl", long="sdxl-beta")


_DETECT = {"SD 1.5": _detect_sd15, "SDXL": _detect_sdxl}


def _by_length(file: TensorFile, clues: Clues, *, short: str, long: str) -> str:
    """v1 and v3 have the same weights, so have HotshotXL and SDXL-beta; the tables are of 24 and of 32 positions."""
    if clues.num_positions is None:
        raise FormatError.about(
            file.path,
            f"has no position table, so it may be of the family {short} or {long}: say which, with "
            f"python -m animatediff_ext convert IN OUT --family {short} (or {long}).",
        )
    return short if clues.num_positions <= FAMILIES[short].num_positions else long


def _is_diffusers(clues: Clues) -> bool:
    return any(".attn1." in name for name in clues.names)


def _telling_name(file: TensorFile) -> str:
    """Lower-case name of the file, or of its folder where the file's name is the one that diffusers gives to all."""
    path = file.path.absolute()
    name = path.parent.name if path.name.startswith("diffusion_pytorch_model") else path.stem
    return name.lower().replace("-", "").replace("_", "")
