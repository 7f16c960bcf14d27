"""The one table of all settings, which the page, the API, infotexts and the XYZ plot read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from animatediff_ext.params.animation import Animation
from animatediff_ext.setting import Setting


def _collect(cls: type, prefix: str = "") -> Iterable[Setting]:
    for entry in dataclasses.fields(cls):
        if "setting" in entry.metadata:
            yield dataclasses.replace(entry.metadata["setting"], path=prefix + entry.name)
        else:
            yield from _collect(type(entry.default), f"{prefix}{entry.name}.")


_ORDER = (
    *("model", "enable", "video_length", "fps", "loop_number", "closed_loop", "batch_size", "stride", "overlap"),
    *("format", "interp", "interp_x", "video_source", "video_path", "mask_path"),
    *("freeinit_enable", "freeinit_filter", "freeinit_ds", "freeinit_dt", "freeinit_iters"),
    *("latent_power", "latent_scale", "last_frame", "latent_power_last", "latent_scale_last", "request_id"),
)
"""The order of the old extension's argument object, which clients may pass as a list; ours follow behind."""

SETTINGS: dict[str, Setting] = {
    known.api: known
    for known in sorted(
        _collect(Animation), key=lambda known: _ORDER.index(known.api) if known.api in _ORDER else len(_ORDER)
    )
}
"""Every setting by its API name, in API order."""

_INTERNAL = {"is_i2i_batch", "video_default", "prompt_scheduler"}
"""Attributes of the old argument object that clients may send back; they mean nothing."""
_OTHER_NAMES = {"enabled": "enable"}


def from_api(arguments: Mapping[str, Any]) -> tuple[Animation, list[str]]:
    """Settings from API names, and a sentence for each key that is not known. Missing keys take their defaults."""
    groups: dict[str, dict[str, Any]] = {}
    warnings = []
    for key, value in arguments.items():
        known = SETTINGS.get(_OTHER_NAMES.get(key, key))
        if known is None:
            if key not in _INTERNAL:
                warnings.append(f"AnimateDiff does not know the argument {key!r}; it was ignored.")
            continue
        group, _, name = known.path.rpartition(".")
        groups.setdefault(group, {})[name] = value
    whole = groups.pop("", {})
    parts = {name: type(getattr(Animation(), name))(**values) for name, values in groups.items()}
    return Animation(**whole, **parts), warnings


def to_api(animation: Animation) -> dict[str, Any]:
    """All settings under their API names, in API order."""
    return {api: value_of(animation, known) for api, known in SETTINGS.items()}


def value_of(animation: Animation, known: Setting) -> Any:
    """The value of one setting."""
    value = animation
    for name in known.path.split("."):
        value = getattr(value, name)
    return value
