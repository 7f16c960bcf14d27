"""What is known of one setting, and the values that it can have.

A settings class declares its fields with `setting(…)` and derives from `Checked`: then every value is checked when
an object is made, and put into its canonical type and spelling.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_NO_TEXT = re.compile("[\0\ud800-\udfff]")


class SettingsError(ValueError):
    """A setting has a value that it cannot have. The message is one sentence for the user."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is known of one field, besides its default."""

    api: str
    kind: type | None
    """``bool``, ``int``, ``float``, ``str``, ``list``; None for what is passed through (pictures)."""
    items: type = str
    """Of a list: what is in it."""
    label: str = ""
    elem_id: str = ""
    minimum: float | None = None
    maximum: float | None = None
    slider: tuple[float, float, float] | None = None
    """Minimum, maximum and step of the page's slider. The API may go beyond it, not beyond ``minimum`` and
    ``maximum``."""
    choices: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Old spellings of a choice, in lower case."""
    infotext: bool = False
    """In infotexts, where the old extension writes and reads it."""
    own_infotext: bool = False
    """In infotexts, in an entry of our own, where it is not as by default."""
    number: bool = False
    """Of a text: a number will do as well."""
    is_path: bool = False
    """Of a text, or the texts of a list: names a file or a folder of this machine, and ``~`` is the user's own one."""
    img2img_only: bool = False
    info: str = ""
    """What the page says below the field."""
    meaning: str = ""
    """What the setting is, where the page has no ``info``: for the schema of the API."""
    unit: str = ""
    """Of a number, in the plural: frames, frames per second."""
    path: str = ""
    """Dotted name in `Animation`; filled in by `SETTINGS`."""
    default: Any = None


def setting(default: Any, *, api: str, kind: type | None, **facts) -> Any:
    """Declare a field of a settings class together with everything that is known of it."""
    known = Setting(api=api, kind=kind, default=default, **facts)
    return field(default=default, metadata={"setting": known})


class Checked:
    """Checks every field against its `Setting` when an object is made, and puts values into their canonical form."""

    def __post_init__(self):
        for entry in dataclasses.fields(self):
            if "setting" in entry.metadata:
                value = canonical(entry.metadata["setting"], getattr(self, entry.name))
                object.__setattr__(self, entry.name, value)


def canonical(known: Setting, value: Any) -> Any:
    """A value in the type and spelling of its setting. Raises `SettingsError` with what is allowed."""
    if known.kind is bool:
        return _boolean(known, value)
    if known.kind in (int, float):
        return _number(known, value)
    if known.kind is str:
        return _text(known, value)
    if known.kind is list:
        return _several(known, value)
    return value


def _boolean(known: Setting, value: Any) -> bool:
    words = {"true": True, "false": False, "1": True, "0": False}
    if isinstance(value, bool):
        return value
    if str(value).lower() in words:
        return words[str(value).lower()]
    raise SettingsError(f"{_name(known)} is {value!r}: give true or false.")


def _number(known: Setting, value: Any) -> int | float:
    wanted = "a whole number" if known.kind is int else "a number"
    if known.minimum is not None:
        wanted += f" of at least {known.minimum:g}" if known.maximum is None else ""
    if known.maximum is not None:
        wanted += f" from {known.minimum:g} to {known.maximum:g}"
    try:
        number = _as_number(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    low = -math.inf if known.minimum is None else known.minimum
    high = math.inf if known.maximum is None else known.maximum
    whole = isinstance(number, int) or number.is_integer()
    if isinstance(value, bool) or not low <= number <= high or (known.kind is int and not whole):
        raise SettingsError(f"{_name(known)} is {value!r}: give {wanted}.")
    return int(number) if whole else number


def _as_number(value: Any) -> int | float:
    """Whole numbers as they are: a float knows 16 of their digits."""
    try:
        return int(value) if isinstance(value, (int, str)) else float(value)
    except ValueError:
        return float(value)


def _text(known: Setting, value: Any) -> str:
    if value is None:
        value = ""
    if isinstance(value, bool):
        value = str(value)
    if known.number and isinstance(value, (int, float)):
        value = f"{value:.12g}"
    if not isinstance(value, str):
        raise SettingsError(f"{_name(known)} is {value!r}: give a text.")
    if _NO_TEXT.search(value):
        raise SettingsError(
            f"{_name(known)} is {value!r}, which has a zero byte or half of a character in it: write it anew."
        )
    if known.is_path:
        value = os.path.expanduser(value)
    return _choice(known, value) if known.choices else value


def _several(known: Setting, value: Any) -> tuple:
    given = [value] if isinstance(value, (str, int, float)) else value
    if not isinstance(given, Iterable):
        raise SettingsError(f"{_name(known)} is {value!r}: give a list.")
    if not known.choices:
        one = dataclasses.replace(known, kind=known.items)
        return tuple(canonical(one, item) for item in given)
    given = list(given)
    if not all(isinstance(item, str) for item in given):
        raise SettingsError(f"{_name(known)} is {value!r}: give a list of {', '.join(known.choices)}.")
    chosen = dict.fromkeys(_choice(known, item) for item in given)
    if not chosen:
        raise SettingsError(f"{_name(known)} is empty: choose at least one of {', '.join(known.choices)}.")
    return tuple(choice for choice in known.choices if choice in chosen)


def _choice(known: Setting, value: str) -> str:
    spelled = {choice.lower(): choice for choice in known.choices} | dict(known.aliases)
    if value.strip().lower() in spelled:
        return spelled[value.strip().lower()]
    raise SettingsError(f"{_name(known)} is {value!r}: choose from {', '.join(known.choices)}.")


def _name(known: Setting) -> str:
    return f"{known.label} ({known.api})" if known.label else known.api
