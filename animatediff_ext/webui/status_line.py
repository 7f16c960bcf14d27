"""One line in the page on how something is."""

from __future__ import annotations

import html


def status_line(text: str, *, good: bool = False) -> str:
    mark, kind = ("✓", "") if good else ("⚠", " animatediff-problem")
    return f"<p class='animatediff-status{kind}'>{mark} {html.escape(text)}</p>"
