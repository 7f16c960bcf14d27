"""Errors as the WebUI shows them: the page prints type and message, the API answers with ``status_code``."""

from __future__ import annotations

from animatediff_ext.formats import FormatError
from animatediff_ext.inject import MisfitError, RowLayoutError
from animatediff_ext.media import MediaError
from animatediff_ext.setting import SettingsError

EXPECTED = (FormatError, MediaError, MisfitError, RowLayoutError, SettingsError)
"""What a user can meet; each message is a sentence that says what to do."""


class AnimateDiffError(ValueError):
    """Stops a generation with one sentence. The WebUI's API looks for these attributes on the exception itself."""

    def __init__(self, message: str):
        super().__init__(message)
        self.status_code = 422
        self.detail = message
