"""What can go wrong with a job, each in one sentence for the user."""

from __future__ import annotations

from animatediff_ext.formats import FormatError
from animatediff_ext.inject import MisfitError, RowLayoutError
from animatediff_ext.media import MediaError
from animatediff_ext.out_of_memory import is_out_of_memory
from animatediff_ext.setting import SettingsError
from animatediff_ext.standalone.error import SpatialModelError

_SENTENCES = (FormatError, MediaError, MisfitError, RowLayoutError, SettingsError, SpatialModelError)
"""Their messages say what to do."""


def sentence_of(error: Exception) -> str | None:
    """What to tell the user; None for a mistake of ours, which is to be raised."""
    if isinstance(error, _SENTENCES):
        return str(error)
    if is_out_of_memory(error):
        return (
            "There is not enough memory: give --low-memory, a smaller --size, fewer frames at once (--set batch_size), "
            "or --dtype float16."
        )
    if isinstance(error, OSError):
        return f"{error.filename or 'A file'} could not be read or written ({error.strerror or error})."
    return None
