"""Reading TOML, which Python can do by itself from 3.11 on."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any


def toml_tables(text: str) -> dict[str, Any]:
    """What a text in TOML holds. Raises `ValueError` with what is wrong with it, and where.

    The package that Python 3.10 needs is asked for only now: no command that reads no TOML has to have it.
    """
    return import_module("tomllib" if sys.version_info >= (3, 11) else "tomli").loads(text)
