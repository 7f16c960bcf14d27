"""What a picture's infotext says of the animation, in the old extension's form.

``AnimateDiff: "model: x.safetensors, video_length: 16, …"``, with everything resolved. Settings that the old
extension does not have stand in a second key, so that its parser still reads the first.
"""

from __future__ import annotations

import re
from contextlib import suppress

from animatediff_ext import __version__
from animatediff_ext.params import SETTINGS, Animation, value_of
from animatediff_ext.setting import Setting, SettingsError, canonical

KEY = "AnimateDiff"
OWN_KEY = "AnimateDiff settings"
KEYS = (KEY, OWN_KEY)
FIELD_PREFIX = "AnimateDiff "
"""Paste fields are called ``AnimateDiff fps`` and so on."""

_BETWEEN_PAIRS = re.compile(rf", (?=(?:{'|'.join([*SETTINGS, 'mm_hash', 'version'])}): )")
"""A name of a file may have commas and colons in it, but hardly one of our keys between them."""
_OWN = tuple(s for s in SETTINGS.values() if not s.infotext and s.api.startswith(("context_", "freeinit_")))


def written(animation: Animation, *, is_img2img: bool, short_hash: str | None) -> dict[str, str]:
    """Entries for ``p.extra_generation_params``. ``animation`` must be resolved."""
    known = [s for s in SETTINGS.values() if s.infotext and s.api != "request_id"]
    parts = _pairs(animation, [s for s in known if not s.img2img_only])
    if animation.output.request_id:
        parts.append(f"request_id: {animation.output.request_id}")
    if short_hash:
        parts.append(f"mm_hash: {short_hash}")
    if is_img2img:
        parts += _pairs(animation, [s for s in known if s.img2img_only])
    entries = {KEY: ", ".join([*parts, f"version: {__version__}"])}
    own = _pairs(animation, [s for s in _OWN if value_of(animation, s) != s.default])
    if own:
        entries[OWN_KEY] = ", ".join(own)
    return entries


def pasted(_infotext: str, results: dict[str, str]) -> None:
    """Callback of the WebUI: take our entries apart into one entry for each field of the page."""
    found = {}
    for key in KEYS:
        for pair in _BETWEEN_PAIRS.split(results.pop(key, "")):
            name, separator, value = pair.partition(": ")
            if separator and name in SETTINGS:
                with suppress(SettingsError):  # an old spelling becomes ours; what means nothing to us is left out
                    found[name] = str(canonical(SETTINGS[name], value))
    if found:
        found.setdefault("enable", "True")  # an infotext of an animation is one that was enabled
        results.update({f"{FIELD_PREFIX}{name}": value for name, value in found.items()})


def _pairs(animation: Animation, known: list[Setting]) -> list[str]:
    return [f"{s.api}: {value_of(animation, s)}" for s in known]
