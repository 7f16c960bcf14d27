"""Script arguments → settings.

The page sends one value for each of its fields. The API sends what the old extension took: one or more dictionaries
with API names, of which later ones win; before its version 1.5, five values in an order of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from animatediff_ext.params import SETTINGS, Animation, from_api
from animatediff_ext.setting import Setting, SettingsError
from animatediff_ext.webui import host


def page_fields(is_img2img: bool) -> list[Setting]:
    """The settings that have a field in the page, in the order of the script's arguments (behind the first)."""
    return [s for s in SETTINGS.values() if s.label and (is_img2img or not s.img2img_only)]


def parse(
    arguments: Sequence[Any], *, is_img2img: bool, over: Mapping[str, Any] | None = None
) -> tuple[Animation, list[str]]:
    """Settings, and a sentence for everything that was ignored. Raises `SettingsError`. What ``over`` says by API name
    wins.

    With AnimateDiff off nothing else is looked at: half-filled fields do not stop a still.
    """
    values = _named(arguments, is_img2img=is_img2img) | dict(over or {})
    switch = {name: value for name, value in values.items() if name in ("enable", "enabled")}
    if not from_api(switch)[0].enabled:
        return Animation(), []
    return from_api({"format": host.default_formats(), **values})


def are_of_a_program(arguments: Sequence[Any]) -> bool:
    """Whether somebody sent a dictionary or an argument object, and nobody pressed *Generate* in the page."""
    return any(_as_dict(given) is not None and not getattr(given, "of_the_page", False) for given in arguments)


def _named(arguments: Sequence[Any], *, is_img2img: bool) -> dict[str, Any]:
    """Values by their API names. Dictionaries win over fields of the page, of which the API fills in those that a
    request's `infotext` says; without one, what a dictionary leaves out is as by default."""
    requested = [given for given in map(_as_dict, arguments) if given is not None]
    first, *values = arguments or [None]
    names = [field.api for field in page_fields(is_img2img)]
    page = dict(zip(names, values))  # noqa: B905 - clients may send fewer
    if requested:
        merged = {name: value for name, value in page.items() if _as_dict(value) is None}
        merged = merged if merged.get("enable") is True else {}
        for given in requested:
            merged.update(given)
        return merged
    if _are_the_first(arguments):
        return dict(zip(_THE_FIRST, arguments))  # noqa: B905 - the page's values stand behind them
    if first:  # what others fill places with, 0 or False, asks for nothing
        raise SettingsError(
            f'AnimateDiff was given {first!r} as its argument: send a dictionary, {{"args": [{{"enable": true, …}}]}}.'
        )
    return page


_THE_FIRST = {"enable": bool, "loop_number": int, "video_length": int, "fps": int, "model": str}
"""Arguments of v1.0 to v1.4, in their order."""


def _are_the_first(arguments: Sequence[Any]) -> bool:
    return len(arguments) >= len(_THE_FIRST) and all(
        type(argument) is kind
        for argument, kind in zip(arguments, _THE_FIRST.values())  # noqa: B905
    )


def _as_dict(argument: Any) -> dict[str, Any] | None:
    """A dictionary as it is; the old extension's argument object as the dictionary of its attributes."""
    if isinstance(argument, dict):
        return argument
    if hasattr(argument, "video_length") and hasattr(argument, "batch_size"):
        return dict(vars(argument))
    return None
