"""A look into every clip: its size and the times of its frames."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path

from animatediff_ext.media import MediaError, frames_at, timeline_of
from animatediff_ext.trainer.data.clip import Clip, Seen
from animatediff_ext.trainer.data.index import key_of, read_index, write_index
from animatediff_ext.trainer.error import TrainError

Bad = tuple[str, str]
"""Name of a clip that cannot be read, and what is wrong with it, to go on after the name."""
_KEPT_EVERY = 5_000
"""New clips between two writes of the index; more where it is long, since it is written whole."""
_ASKED_AT_ONCE = 512
_MAX_THREADS = 16  # much of the time goes into waiting for the disk


def look_into(
    clips: Sequence[Clip], index: Path | None, progress: Callable[[int, int], None] | None = None
) -> tuple[list[Clip], list[Bad]]:
    """Fill in ``seen`` of each clip; those that cannot be read are left out and named.

    ``index`` is a file that keeps what was seen, by path, size and time of change. ``progress`` is told how many clips
    of how many are done. Raises `TrainError` if the index cannot be written.
    """
    known = read_index(index) if index else {}
    seen, bad, good = {}, [], []
    num_kept, num_new = len(known), 0
    with ThreadPoolExecutor(min(_MAX_THREADS, 2 * (os.cpu_count() or 1))) as threads:
        # In parts: waiting for a look takes memory, and an error here waits for all looks that are asked for.
        parts = (clips[start : start + _ASKED_AT_ONCE] for start in range(0, len(clips), _ASKED_AT_ONCE))
        looks = chain.from_iterable(threads.map(lambda clip: _look(clip, known), part) for part in parts)
        for number, (clip, found) in enumerate(zip(clips, looks, strict=True), start=1):
            if isinstance(found, MediaError):
                bad.append((clip.name, clip.complaint(found)))
            else:
                good.append(replace(clip, seen=found))
                key = key_of(clip, found.file_size, found.modified_ns)
                num_new += key not in known and key not in seen
                seen[key] = found
            if progress:
                progress(number, len(clips))
            if index and num_new >= max(_KEPT_EVERY, num_kept // 10):
                _keep(index, known | seen)  # a start that is broken off need not begin anew
                num_kept, num_new = num_kept + num_new, 0
    if index and seen.keys() - known.keys():
        _keep(index, seen)
    return good, bad


def _look(clip: Clip, known: dict[str, Seen]) -> Seen | MediaError:
    try:
        file_size, modified_ns = clip.stat()
        found = known.get(key_of(clip, file_size, modified_ns))
        return found or _seen(clip, file_size, modified_ns)
    except MediaError as error:
        return error


def _seen(clip: Clip, file_size: int, modified_ns: int) -> Seen:
    source = clip.source()
    timeline = timeline_of(source)
    # The first frame as it is shown: files that note an angle say the size of the picture lying on its side.
    height, width = frames_at(source, (0,), timeline=timeline).shape[1:3]
    return Seen(width=width, height=height, timeline=timeline, file_size=file_size, modified_ns=modified_ns)


def _keep(index: Path, seen: dict[str, Seen]) -> None:
    try:
        write_index(index, seen)
    except OSError as error:
        raise TrainError(
            f"{index}, which keeps what is known of the clips, cannot be written ({error.strerror}): "
            "choose another run.output, or make room there."
        ) from error


def sentence(bad: Iterable[Bad], *, at_most: int) -> str:
    """The bad clips in a row, the first ``at_most`` of them by name."""
    bad = list(bad)
    named = "; ".join(f"{name} {complaint.rstrip('.')}" for name, complaint in bad[:at_most])
    return named + (f"; and {len(bad) - at_most} more" if len(bad) > at_most else "")
