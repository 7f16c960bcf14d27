"""Errors as the WebUI shows them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import HTTPException

from animatediff_ext.formats import FormatError
from animatediff_ext.inject import MisfitError, RowLayoutError
from animatediff_ext.media import MediaError, StorageError
from animatediff_ext.setting import SettingsError

EXPECTED = (FormatError, MediaError, MisfitError, RowLayoutError, SettingsError)
"""What a user can meet; each message is a sentence that says what to do."""
NOT_ENOUGH_MEMORY = (
    "There is not enough memory for this animation. In this order: switch off Batch cond/uncond in the settings, set "
    "Long clips to windows, lower Context batch size, take a smaller picture or no Hires. fix, start the WebUI with "
    "--medvram."
)
"""What costs the user least comes first; the API answers with HTTP 503, since another time it may be enough."""


class AnimateDiffError(HTTPException):
    """Stops a generation with one sentence.

    The page shows type and text of an exception; the API answers with ``status_code`` and ``detail``. It prints no
    trace of an `HTTPException`, which is for mistakes of a caller and not of ours.
    """

    def __init__(self, message: str, status_code: int = 422):
        super().__init__(status_code=status_code, detail=message)

    def __str__(self) -> str:
        return self.detail


def status_of(problem: Exception) -> int:
    """What the API answers with: 507 is *Insufficient Storage*, another time or place may do."""
    if isinstance(problem, AnimateDiffError):
        return problem.status_code
    return 507 if isinstance(problem, StorageError) else 422


@contextmanager
def mistakes_said() -> Iterator[None]:
    """Around what the WebUI calls outside of a sampling: a mistake in a setting is one sentence."""
    try:
        yield
    except SettingsError as problem:
        raise AnimateDiffError(str(problem)) from problem
