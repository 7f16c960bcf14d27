"""Our settings as axes of the WebUI's X/Y/Z plot.

A cell is a copy of ``p``; what its axes say is noted on that copy alone, and wins over the arguments of the script.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modules import scripts

from animatediff_ext.direct import Director, loras_of
from animatediff_ext.infotext import value_said
from animatediff_ext.media import MediaError
from animatediff_ext.media.source import opened_picture
from animatediff_ext.params import SETTINGS, from_api
from animatediff_ext.setting import Setting, SettingsError
from animatediff_ext.webui import models
from animatediff_ext.webui.errors import AnimateDiffError

PREFIX = "[AnimateDiff] "
_OLD_LABELS = {
    "enable": "Enabled",
    "model": "Motion Module",
    "video_length": "Video length",
    "batch_size": "Batch size",
    "interp": "Interp",
    "latent_power_last": "Latent power last",
    "latent_scale_last": "Latent scale last",
}
"""Those of the old extension which are not what the page says; saved plots have them."""
_OWN_LABELS = {"last_frame": "Last frame", "request_id": "Request id"}
_SLOW = ("model", "second_model")
"""They are read from files: the plot changes them as seldom as it can."""
_VALUES = "animatediff_axes"


def values_of(p) -> dict[str, Any]:
    """What the axes say for this cell, by API name."""
    return p.__dict__.get(_VALUES, {})


def register() -> None:
    """Add the axes, once, to the plot's list, before it builds its fields."""
    for grid in plots():
        known = {option.label for option in grid.axis_options}
        grid.axis_options += [option for option in map(_axis(grid), SETTINGS.values()) if option.label not in known]


def plots() -> list:
    """The Python modules of the plot's script: the WebUI runs it anew on *Reload UI*."""
    found = [data.module for data in scripts.scripts_data if data.script_class.__module__.endswith("xyz_grid.py")]
    return list({id(module): module for module in found}.values())


def _axis(grid) -> Callable[[Setting], Any]:
    def option(known: Setting):
        cls = grid.AxisOptionImg2Img if known.img2img_only else grid.AxisOption
        label = PREFIX + {**_OWN_LABELS, **_OLD_LABELS}.get(known.api, known.label)
        how = {"confirm": _confirmed(known), "cost": 0.5 if known.api in _SLOW else 0.0, **_choices(known)}
        return cls(label, _kind(known), _applied(known), **how)

    return option


def _kind(known: Setting) -> type:
    return {bool: str, list: str, None: str}.get(known.kind, known.kind)


def _applied(known: Setting) -> Callable[[Any, Any, Any], None]:
    def apply(p, value, _values) -> None:
        # a new dictionary: copies of p share the old one
        vars(p)[_VALUES] = {**values_of(p), known.api: _value(known, value)}

    return apply


def _value(known: Setting, value: Any) -> Any:
    """What a cell of the axis gets: several formats are joined by +, and a picture is given by its path."""
    if known.api == "last_frame" and value:
        with opened_picture(value) as picture:
            return picture.convert("RGB")
    return value_said(known, value)


def _confirmed(known: Setting) -> Callable[[Any, list], None]:
    """Before the plot begins: a value that cannot be should not cost the cells before it."""

    def confirm(_p, values: list) -> None:
        try:
            for value in values:
                _check_what_travels(known, _value(known, value))
        except (MediaError, OSError, SettingsError) as problem:
            raise AnimateDiffError(str(problem)) from problem

    return confirm


def _check_what_travels(known: Setting, value: Any) -> None:
    """Texts of numbers that travel are otherwise read when an animation begins. Raises `SettingsError`."""
    if known.path.startswith("motion.") and known.kind is str and not known.choices:
        animation = from_api({known.api: value})[0].resolved()
        Director(animation)
        loras_of(animation)


def _choices(known: Setting) -> dict[str, Any]:
    if known.api in _SLOW:
        return {"choices": models.names}
    if known.kind is bool:
        return {"choices": lambda: ["True", "False"]}
    return {"choices": lambda: list(known.choices)} if known.choices else {}
