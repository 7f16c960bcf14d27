"""The frames of one animation → its files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

from PIL.Image import Image

from animatediff_ext.media import (
    ENDINGS,
    WRITERS,
    EncodeOptions,
    GifLimits,
    check_formats,
    interpolated,
    kept,
    write_small_gif,
)
from animatediff_ext.media.frames import Frames
from animatediff_ext.params import Animation

_LOG = logging.getLogger(__name__)
FILE_ORDER = ("PNG", "GIF", "MP4", "WEBP", "WEBM", "TXT")
"""The order in which files are written, and in which the API returns those that it returns."""


def save_animation(
    frames: Sequence[Image],
    stem: Path,
    animation: Animation,
    *,
    comment: str = "",
    embedded: bool = True,
    formats: Collection[str] | None = None,
    options: EncodeOptions | None = None,
    say: Callable[[str], None] = _LOG.info,
    played: tuple[Frames, float] | None = None,
) -> dict[str, Path]:
    """Write ``frames`` as ``stem.gif``, ``stem.mp4``, …, and single pictures into the folder ``stem``.

    ``comment`` is in all files, or if not ``embedded`` in the TXT alone, which is nothing else. ``formats`` defaults to
    those of the settings. ``say`` is told what a limit of the GIF's size has cost. ``played`` is what `made_once` lends
    where others read it as well. Returns format → path. Raises `MediaError` if a file cannot be written; then none of
    it is there.
    """
    limits = GifLimits(mb=animation.output.gif_max_mb, width=animation.output.gif_max_width)
    writers = {**WRITERS, "GIF": partial(write_small_gif, limits=limits, say=say)} if limits else WRITERS
    chosen = animation.output.formats if formats is None else formats
    names = [name for name in FILE_ORDER if name in chosen]
    stem.parent.mkdir(parents=True, exist_ok=True)
    with nullcontext(played) if played else made_once(frames, animation, names, stem.parent) as (ready, fps):
        return {
            name: writers[name](
                ready,
                stem.with_name(stem.name + ENDINGS[name]),
                fps=fps,
                loops=animation.output.loop_count,
                comment=comment if embedded or name == "TXT" else "",
                options=options or EncodeOptions(),
            )
            for name in names
        }


@contextmanager
def made_once(
    frames: Sequence[Image], animation: Animation, readers: Collection[str], folder: Path
) -> Iterator[tuple[Frames, float]]:
    """What `as_played` returns, for formats as ``readers``; what they need to share it waits in ``folder``.

    New frames take long to make, and each format reads all of them, a GIF several times; TXT does not.
    """
    played, fps = as_played(frames, animation)
    readers = {*readers} - {"TXT"}
    if isinstance(played, Sequence) or (len(readers) <= 1 and "GIF" not in readers):
        yield played, fps
    else:
        with kept(played, folder) as ready:
            yield ready, fps


def check_output(animation: Animation, options: EncodeOptions) -> None:
    """Raises `MediaError` if its files cannot be written here, before there is a frame."""
    _, fps = as_played((), animation)
    check_formats(animation.output.formats, options, fps=fps)


def as_played(frames: Sequence[Image], animation: Animation) -> tuple[Sequence[Image], float]:
    """The frames that a file shows, and how many of them a second."""
    output, context = animation.output, animation.context
    if context.closed_loop == "A" and animation.num_frames <= context.length:
        # No window can cross the end of so short a clip, so the loop is closed by playing it back.
        frames = [*frames, *frames[-2:0:-1]]
    if output.interpolation == "Off":
        return frames, output.fps
    factor = output.interpolation_factor
    closed = animation.is_loop
    return interpolated(frames, fps=output.fps, factor=factor, closed=closed), output.fps * factor
