"""Infotexts that are pasted: our entries, and the old extension's, back into the fields of the page."""

from __future__ import annotations

import re
from contextlib import suppress

from animatediff_ext.infotext import KEY, OWN_KEY
from animatediff_ext.params import SETTINGS
from animatediff_ext.setting import SettingsError, canonical
from animatediff_ext.webui.old_infotexts import as_pairs

KEYS = (KEY, OWN_KEY)
_IF_ABSENT = {"long_clips": "windows"}
"""What is not written was as by default, but for this: before there were views, all clips were made in windows."""
FIELD_PREFIX = "AnimateDiff "
"""Paste fields are called ``AnimateDiff fps`` and so on."""

_BETWEEN_PAIRS = re.compile(rf", (?=(?:{'|'.join([*SETTINGS, 'mm_hash', 'version'])}): )")
"""A name of a file may have commas and colons in it, but hardly one of our keys between them."""


def pasted(infotext: str, results: dict[str, str]) -> None:
    """Callback of the WebUI: take our entries apart into one entry for each field of the page."""
    older = as_pairs(infotext)
    if older is not None:
        results[KEY] = older
    found = {}
    for key in KEYS:
        for pair in _BETWEEN_PAIRS.split(results.pop(key, "")):
            name, separator, value = pair.partition(": ")
            if separator and name in SETTINGS:
                with suppress(SettingsError):  # an old spelling becomes ours; what means nothing to us is left out
                    found[name] = str(canonical(SETTINGS[name], value))
    if found:
        found.setdefault("enable", "True")  # an infotext of an animation is one that was enabled
        for known in SETTINGS.values():
            if known.own_infotext:  # what is not written was as by default, whatever the page has now
                found.setdefault(known.api, _IF_ABSENT.get(known.api, str(known.default)))
        results.update({f"{FIELD_PREFIX}{name}": value for name, value in found.items()})
