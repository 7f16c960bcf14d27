"""LoRAs of this family in the WebUI: files as they were published, by ``<lora:name:weight>`` or by the list.

The WebUI's own Lora extension knows no layers of motion modules. So what is for them, or is the domain adapter in its
official spelling, is taken out of what that extension is told, and added by us.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

from modules import shared

from animatediff_ext.direct import LoraWeight, loras_of
from animatediff_ext.formats import FormatError, LoraFile, load_lora, lora_kind
from animatediff_ext.motion_loras import RUNTIME_KINDS
from animatediff_ext.params import Animation
from animatediff_ext.travel import values_of
from animatediff_ext.webui import models
from animatediff_ext.webui.errors import AnimateDiffError

KEPT = 8
"""LoRAs in main memory."""
_TAGS = ("lora", "lyco")
"""Two names of one thing, to the WebUI as well."""


class MotionLoras:
    """The LoRAs of one ``p``."""

    def __init__(self, p, animation: Animation):
        self._p = p
        self._animation = animation
        self._in_prompt: dict[Path, LoraWeight] = {}

    def take_from_prompt(self) -> None:
        """Behind the WebUI's own reading of the prompt: what is ours leaves its list. Raises `SettingsError`."""
        self._in_prompt = self._taken(self._p.extra_network_data)
        in_hires_prompt = self._taken(getattr(self._p, "hr_extra_network_data", None))
        if in_hires_prompt and in_hires_prompt != self._in_prompt:
            self._p.comment("Motion LoRAs of the hires prompt are ignored: those of the prompt work in both passes.")

    def _taken(self, networks: dict[str, list] | None) -> dict[Path, LoraWeight]:
        ours = {}
        for kind in _TAGS:
            wanted = (networks or {}).get(kind, [])
            for params in list(wanted):
                path = found(params.items[0])
                if path and _is_ours(path):
                    wanted.remove(params)
                    ours.setdefault(path, self._weighted(params))
        return ours

    def _weighted(self, params) -> LoraWeight:
        behind_name = params.positional[1:3]  # for the text encoder and for the UNet, or one for both
        text = params.named.get("unet", behind_name[-1] if behind_name else "1")
        name = f"The weight of <lora:{params.items[0]}>"
        return LoraWeight(name=params.items[0], values=values_of(str(text), self._animation, name=name))

    def loaded(self) -> list[tuple[LoraFile, LoraWeight]]:
        """Those of the prompt and of the list. Raises `AnimateDiffError` and `FormatError`."""
        listed = [(_found_or_raise(weight.name), weight) for weight in loras_of(self._animation)]
        return [(_load(path), weight) for path, weight in [*self._in_prompt.items(), *listed]]


def check(animation: Animation) -> None:
    """Raises before anything is computed where the list has a name that nothing is known of."""
    for weight in loras_of(animation):
        lora_kind(_found_or_raise(weight.name))


def found(name: str) -> Path | None:
    """The file of a LoRA: in the WebUI's folders, by its name or alias, or beside the motion modules."""
    networks = sys.modules.get("networks")  # of the WebUI's Lora extension
    for table in ("available_networks", "available_network_aliases"):
        on_disk = getattr(networks, table, {}).get(name)
        if on_disk is not None:
            return Path(on_disk.filename)
    for folder in [*models.folders(), *lora_folders()]:
        for path in folder.rglob("*") if folder.is_dir() else ():
            if path.suffix.lower() in models.ENDINGS and name in (path.stem, path.name):
                return path
    return None


def lora_folders() -> list[Path]:
    """The WebUI's, where its Lora extension is on."""
    chosen = getattr(shared.cmd_opts, "lora_dir", None)
    return [Path(chosen)] if chosen else []


def _found_or_raise(name: str) -> Path:
    path = found(name)
    if path is None:
        _check_weight(name)
        raise AnimateDiffError(
            f"There is no LoRA {name!r} (motion_loras): put the file into the folder of LoRAs, and give its name "
            "without the ending."
        )
    return path


def _check_weight(line: str) -> None:
    """A name may have = or @ in it; where what stands before it is a LoRA, the rest was meant as its weight."""
    for sign in "=@":
        name, _, weight = (part.strip() for part in line.rpartition(sign))
        if name and found(name):
            raise AnimateDiffError(
                f"The weight of {name} (motion_loras) is {weight!r}: give a number, or keys such as 0: 0, 100%: 1."
            )


def _is_ours(path: Path) -> bool:
    try:
        return _kind_at(str(path), path.stat().st_mtime_ns) in RUNTIME_KINDS
    except (FormatError, OSError):
        return False  # whatever it is, the WebUI's own extension was meant


def _load(path: Path) -> LoraFile:
    return _read(str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=1024)
def _kind_at(path: str, _modified: int) -> str:
    return lora_kind(path)


@lru_cache(maxsize=KEPT)
def _read(path: str, _modified: int) -> LoraFile:
    return load_lora(path)


def forget() -> None:
    """Hold no LoRA in memory any more."""
    _read.cache_clear()
