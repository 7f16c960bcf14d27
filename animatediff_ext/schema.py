"""A JSON Schema of the arguments of one animation, made from the table of settings.

Standard keywords say what is canonical; ``title`` is what the page calls it. Beside them stand ``x-unit``,
``x-img2img-only``, and ``x-aliases``: other spellings that are understood.
"""

from __future__ import annotations

from typing import Any

from animatediff_ext import __version__
from animatediff_ext.params import SETTINGS
from animatediff_ext.setting import Setting

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Of the dictionary in ``alwayson_scripts.AnimateDiff.args``, in API order."""
    return {
        "$schema": DIALECT,
        "title": "AnimateDiff",
        "description": "Arguments of one animation. What is left out takes its default.",
        "x-version": __version__,
        "type": "object",
        "properties": {api: schema_of(known) for api, known in SETTINGS.items()},
    }


def schema_of(known: Setting) -> dict[str, Any]:
    """Of one argument."""
    facts = {
        "title": known.label or None,
        "description": known.info or known.meaning,
        **_type(known),
        "minimum": known.minimum,
        "maximum": known.maximum,
        "x-unit": known.unit or None,
        "x-img2img-only": known.img2img_only or None,
        "x-aliases": dict(known.aliases) or None,
    }
    default = list(known.default) if isinstance(known.default, tuple) else known.default
    return {name: fact for name, fact in facts.items() if fact is not None} | {"default": default}


def _type(known: Setting) -> dict[str, Any]:
    choices = {"enum": list(known.choices)} if known.choices else {}
    if known.kind is list:
        items = choices or {"type": _NAMES[known.items]}
        return {"type": "array", "items": items, "uniqueItems": True} | ({"minItems": 1} if choices else {})
    if known.kind is None:  # a path or a picture
        return {"type": ["string", "null"]}
    if known.number:
        return {"type": ["string", "number"]}
    return {"type": _NAMES[known.kind], **choices}


_NAMES = {bool: "boolean", int: "integer", float: "number", str: "string"}
