"""Reading TOML, which Python can do by itself from 3.11 on."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

_ESCAPED = re.compile(r"[A-Za-z]:[\x08\t\n\f\r]")
_HINT = r"in double quotes \ begins an escape, so write paths with / or in single quotes"


def toml_tables(text: str) -> dict[str, Any]:
    """What a text in TOML holds. Raises `ValueError` with what is wrong with it, and where.

    The package that Python 3.10 needs is asked for only now: no command that reads no TOML has to have it.
    """
    loads = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli").loads
    try:
        tables = loads(text)
    except ValueError as error:
        if "\\" not in text:
            raise
        raise ValueError(f"{error}; {_HINT}") from error
    for value in _strings(tables):
        if _ESCAPED.match(value):  # "D:\train" is D: and a tab
            raise ValueError(f"it has {value!r} for a path; {_HINT}")
    return tables


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)
