"""The comment of a file: the infotext, from which the WebUI can restore every setting."""

from __future__ import annotations


def clean_comment(comment: str) -> str:
    """``comment`` without what no container can hold: zero bytes (they end a string) and halves of UTF-16 pairs."""
    return comment.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
