"""The settings of motion → what is asked of the modules at each step."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from animatediff_ext.inject import Direction
from animatediff_ext.motion.manner import Views
from animatediff_ext.params import SETTINGS, Animation
from animatediff_ext.setting import SettingsError
from animatediff_ext.travel import Values, listed, values_of, values_over_sampling

_BLOCK = re.compile(r"(?P<way>down|mid|up)(?:\s*(?P<block>\d+)(?:\.(?P<place>\d+))?)?\s*:\s*(?P<factor>-?[\d.]+)", re.I)
# Folders may have both signs and digits in their names, weights no separators of folders.
_LORA = re.compile(r"(?P<name>.+?)(?:\s*(?P<over>[=@])\s*(?P<weight>[-+.\d][^=@/\\]*))?")


class Director:
    """Knows for each step what the settings of one resolved animation mean. Raises `SettingsError`."""

    def __init__(self, animation: Animation):
        motion = animation.motion
        self._num_frames = animation.num_frames
        self._effect = values_of(motion.effect, animation, name=_named("motion_effect"))
        self._scale = values_of(motion.scale, animation, name=_named("motion_scale"))
        self._effect_steps = values_over_sampling(motion.effect_steps, name=_named("motion_effect_steps"))
        self._start, self._end = motion.start, motion.end
        self._blocks = blocks_of(motion.blocks)
        self._positions = motion.positions

    def direction(self, progress: float, views: Views = ()) -> Direction:
        """After this share of the steps, 0 at the first one and less than 1 at the last."""
        factor = self._effect_steps.at(progress) if self._start <= progress and self._is_before_end(progress) else 0.0
        effect = [factor * value for value in self._effect.over(self._num_frames)]
        return Direction(
            effect=() if all(value == 1 for value in effect) else effect,
            scale=() if self._scale.is_constant and self._scale.at(0) == 1 else self._scale.over(self._num_frames),
            blocks=self._blocks,
            views=views,
            positions=self._positions,
        )

    def _is_before_end(self, progress: float) -> bool:
        return progress < self._end or self._end == 1


@dataclass(frozen=True, kw_only=True)
class LoraWeight:
    """A LoRA that is added at run time, by its name or file."""

    name: str
    values: Values
    over: str = "frames"
    """``frames`` or ``sampling``."""

    def now(self, progress: float, frames: Sequence[int]) -> float | list[float]:
        """One weight, or one for each of these frames."""
        if self.over == "sampling":
            return self.values.at(progress)
        if self.values.is_constant:
            return self.values.at(0)
        return [self.values.at(frame) for frame in frames]


def loras_of(animation: Animation) -> list[LoraWeight]:
    """The list of the settings, a line each. Raises `SettingsError`."""
    return [_lora(line, animation) for line in _lines(animation.motion.loras)]


def loras_by_name(text: str) -> str:
    """The list with the names of files in place of their paths."""
    return "\n".join(map(_by_name, _lines(text)))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]


def _by_name(line: str) -> str:
    path = _LORA.fullmatch(line)["name"]
    return path.replace("\\", "/").rpartition("/")[2] + line[len(path) :]


def _lora(line: str, animation: Animation) -> LoraWeight:
    match = _LORA.fullmatch(line)
    label = f"The weight of {match['name']} ({_named('motion_loras')})"
    if match["over"] == "@":
        values = values_over_sampling(match["weight"], name=label)
        return LoraWeight(name=match["name"], values=values, over="sampling")
    return LoraWeight(name=match["name"], values=values_of(match["weight"] or "1", animation, name=label))


def blocks_of(text: str) -> dict[str, float]:
    """``down 0: 0.5, mid: 0, up 3.1: 1.2`` → factors by the beginning of the modules' names. Raises `SettingsError`."""
    found = {}
    for part in listed(text):
        match = _BLOCK.fullmatch(part)
        try:
            found[_prefix(match)] = float(match["factor"])
        except (TypeError, ValueError, AttributeError) as problem:
            raise SettingsError(
                f"{_named('motion_blocks')} has {part!r} in it: give parts of the UNet with a factor each, such as "
                "down 0: 0.5, mid: 0, up 3.1: 1.2."
            ) from problem
    return found


def check_blocks(text: str, sites: Sequence[str]) -> None:
    """Raises `SettingsError` for a part of the UNet that has no module, but for the middle, which some have."""
    for name in blocks_of(text):
        if name != "mid_block" and not any(f"{site}.".startswith(f"{name}.") for site in sites):
            levels = sorted({site.split(".")[1] for site in sites if site.startswith("down_blocks")})
            raise SettingsError(
                f"{_named('motion_blocks')} names {name}, where this motion module has nothing: its levels are "
                f"{levels[0]} to {levels[-1]}, with modules from 0 on."
            )


def _prefix(match: re.Match) -> str:
    way = match["way"].lower()
    name = "mid_block" if way == "mid" else f"{way}_blocks"
    if match["block"] is not None and way != "mid":
        name += f".{match['block']}"
    return name if match["place"] is None else f"{name}.motion_modules.{match['place']}"


def _named(api: str) -> str:
    return f"{SETTINGS[api].label} ({api})"
