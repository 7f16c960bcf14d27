"""Infotexts that are pasted: our entries, and the old extension's, back into the fields of the page."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules import images, infotext_utils

from animatediff_ext.infotext import KEY, OWN_KEY, pairs_in, value_said, value_unsaid
from animatediff_ext.media import read_comment
from animatediff_ext.media.source import head_of, opened_picture
from animatediff_ext.params import SETTINGS
from animatediff_ext.setting import SettingsError
from animatediff_ext.webui.old_infotexts import as_pairs

KEYS = (KEY, OWN_KEY)
FIELD_PREFIX = "AnimateDiff "
"""Entries for single fields are called ``AnimateDiff fps`` and so on."""
_STILLS = (b"\x89PNG", b"\xff\xd8\xff")
"""What PNG and JPEG begin with."""


def pasted(infotext: str, results: dict[str, Any]) -> None:
    """Callback of the WebUI: take our entries apart into one entry for each field of the page."""
    found = values_in(_with_older(infotext, results))
    for key in KEYS:
        results.pop(key, None)
    results.update({f"{FIELD_PREFIX}{name}": value for name, value in found.items()})


def _with_older(infotext: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The entries, with the one that the WebUI cannot take apart as later versions write it."""
    older = as_pairs(infotext)
    return parameters if older is None else {**parameters, KEY: older}


def values_in(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by API name, of an infotext that the WebUI has taken apart into entries; none if no animation."""
    found: dict[str, Any] = {}
    for key in KEYS:
        for name, text in pairs_in(parameters.get(key, "")).items():
            if name in SETTINGS:
                with suppress(SettingsError):  # an old spelling becomes ours; what means nothing to us is left out
                    found[name] = value_said(SETTINGS[name], text)
    if found:
        found.setdefault("enable", True)  # an infotext of an animation is one that was enabled
        for known in SETTINGS.values():
            if known.own_infotext and known.api not in found:  # whatever the page has now
                value = value_unsaid(known, found)
                found |= {} if value is None else {known.api: value}
    return found


@dataclass(frozen=True)
class FromInfotext:
    """What a field of the page takes from an infotext.

    The page calls `pasted` before it asks; the API, for the `infotext` of a request, does not.
    """

    api: str

    def __call__(self, parameters: Mapping[str, Any]) -> Any:
        value = parameters.get(f"{FIELD_PREFIX}{self.api}", values_in(parameters).get(self.api))
        return list(value) if isinstance(value, tuple) else value


def arguments_of(infotext: str) -> dict[str, Any]:
    """What the API would be asked for by the text below a picture; empty if that is no animation."""
    found = values_in(_with_older(infotext, infotext_utils.parse_generation_parameters(infotext)))
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def infotext_of(source: Path | bytes) -> str:
    """The infotext in a picture or a clip, given by its path or its content; empty if there is none.

    Raises `MediaError` for what is neither.
    """
    if (head_of(source) or b"").startswith(_STILLS):  # of a PNG that moves, FFmpeg would not read the text
        with opened_picture(source) as picture:
            picture.load()  # the text may stand behind the pixels
            return images.read_info_from_image(picture)[0] or ""
    return read_comment(source)
