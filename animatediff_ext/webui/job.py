"""What the running animation does at the moment, for whoever asks.

It is pinned to the WebUI's own state of what runs, is never read by a generation, and is worth nothing once that state
is about something else.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from modules import shared

from animatediff_ext.params import Animation

IDLE = {"active": False, "stage": "idle"}
_PLACE = "animatediff_job"


@dataclass(frozen=True, kw_only=True)
class Job:
    """Numbers begin at 1, and are None where they mean nothing."""

    stage: str = "preparing"
    """Then sampling, decoding, writing; with several videos, for each of them."""
    request_id: str = ""
    video: int = 1
    videos: int = 1
    frames: int | None = None
    step: int | None = None
    """Of ``steps`` in this pass: hires fix and each iteration of FreeInit begin anew."""
    steps: int | None = None
    hires_pass: bool = False
    window: int | None = None
    windows: int | None = None


class Progress:
    """Tells of one generation. Whoever asks meanwhile sees a whole `Job`, since it is replaced and never changed."""

    def __init__(self, animation: Animation, videos: int):
        self._of, self._since = _running(), time.monotonic()
        self._job = Job(request_id=animation.output.request_id, videos=videos, frames=animation.num_frames or None)
        self.now()

    def now(self, **changes: Any) -> None:
        """What has changed, by the names of `Job`."""
        self._job = replace(self._job, **changes)
        setattr(shared.state, _PLACE, (self._of, self._since, self._job))


def finished() -> None:
    """There is no animation any more."""
    vars(shared.state).pop(_PLACE, None)


def current() -> dict[str, Any]:
    """The running animation, in types that JSON knows."""
    of, since, job = vars(shared.state).get(_PLACE, (None, 0.0, None))
    if job is None or of != _running() or not shared.state.job_count:  # an error ends what runs without a word to us
        return IDLE
    return {"active": True, **asdict(job), "elapsed_s": round(time.monotonic() - since, 1)}


def _running() -> str:
    """Changes with each request or press of *Generate*; the cells of a plot are one."""
    return shared.state.job_timestamp
