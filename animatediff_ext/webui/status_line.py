"""One line in the page on how something is."""

from __future__ import annotations

import html


def status_line(text: str, *, good: bool = False, settled: bool = True) -> str:
    """``settled`` False: javascript/checkpoint.js asks for it again."""
    mark, kind = ("✓", "") if good else ("⚠", " animatediff-problem")
    again = "" if settled else " data-unsettled"
    return f"<p class='animatediff-status{kind}'{again}>{mark} {html.escape(text)}</p>"
