"""The figures that the shipped toy world reached when it was measured."""

import json

from animatediff_ext.toy.files import FIGURES, SHIPPED


def figures() -> dict[str, dict]:
    return json.loads((SHIPPED / FIGURES).read_text(encoding="utf-8"))
