"""What gradio 3 and 4 call differently. Their pages differ too: javascript/gradio.js."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

_JAVASCRIPT = "_js" if gr.__version__.startswith("3.") else "js"


def in_the_page(code: str, inputs: Sequence[gr.components.Component] = ()) -> dict[str, Any]:
    """Arguments of an event that runs a JavaScript function in the page, without asking us."""
    return {"fn": None, _JAVASCRIPT: code, "inputs": list(inputs)}
