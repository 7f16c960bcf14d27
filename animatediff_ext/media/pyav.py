"""PyAV, brought in when a format needs it: without it the rest of the package still works."""

from __future__ import annotations

from types import ModuleType

from animatediff_ext.media.errors import MediaError


def load_pyav(purpose: str) -> ModuleType:
    """The module ``av``; ``MediaError`` where it is not installed. ``purpose`` starts that sentence: "Writing MP4"."""
    try:
        import av
        import av.filter
        import av.video.reformatter
    except ImportError as error:
        raise MediaError(
            f"{purpose} needs the Python package 'av' (PyAV), which cannot be imported ({error}). "
            "Install it with 'pip install av', or save as WEBP or PNG, which do without."
        ) from error
    return av


def has_encoder(name: str) -> bool:
    """Whether this build of PyAV can encode with FFmpeg's encoder ``name``; False without PyAV."""
    try:
        from av.codec import Codec
    except ImportError:
        return False
    try:
        Codec(name, "w")
    except ValueError:  # UnknownCodecError
        return False
    return True


def pulled(source):
    """Yield what a filter or its graph has ready now; ``source`` is anything with ``pull()``."""
    while True:
        try:
            yield source.pull()
        except (BlockingIOError, EOFError):  # PyAV's words for "needs more input" and "no more to come"
            return
