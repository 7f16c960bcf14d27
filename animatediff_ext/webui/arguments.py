"""Script arguments → settings.

The page sends one value for each of its fields. The API sends what the old extension took: one or more dictionaries
with API names, of which later ones win.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from animatediff_ext.params import SETTINGS, Animation, from_api
from animatediff_ext.setting import Setting, SettingsError


def page_fields(is_img2img: bool) -> list[Setting]:
    """The settings that have a field in the page, in the order of the script's arguments (behind the first)."""
    return [s for s in SETTINGS.values() if s.label and (is_img2img or not s.img2img_only)]


def parse(arguments: Sequence[Any], *, is_img2img: bool) -> tuple[Animation, list[str]]:
    """Settings, and a sentence for everything that was ignored. Raises `SettingsError`."""
    given = [_as_dict(argument) for argument in arguments]
    requested = [argument for argument in given if argument is not None]
    if requested:
        merged: dict[str, Any] = {}
        for argument in requested:
            merged.update(argument)
        return from_api(merged)
    first, *values = arguments or [None]
    if first is not None:
        raise SettingsError(
            f'AnimateDiff was given {first!r} as its argument: send a dictionary, {{"args": [{{"enable": true, …}}]}}.'
        )
    names = [field.api for field in page_fields(is_img2img)]
    return from_api(dict(zip(names, values)))  # noqa: B905 - clients may send fewer


def _as_dict(argument: Any) -> dict[str, Any] | None:
    """A dictionary as it is; the old extension's argument object as the dictionary of its attributes."""
    if isinstance(argument, dict):
        return argument
    if hasattr(argument, "video_length") and hasattr(argument, "batch_size"):
        return dict(vars(argument))
    return None
