"""Where the files of a job go."""

from __future__ import annotations

import re
from pathlib import Path

from animatediff_ext.standalone.job import Job

_NUMBERED = re.compile(r"(\d{5,})-.*")


def stem_in_list(job: Job, number: int) -> Path:
    """``OUTPUT/NAME``, or from number and content: a changed job gets another name."""
    return _stem(job, job.name or f"{number:05}-{job.digest}")


def stem_of_one(job: Job, seed: int) -> Path:
    """``OUTPUT/NAME``, or the next free number with the seed, as the WebUI names its files."""
    return _stem(job, job.name or f"{_next_number(Path(job.output)):05}-{seed}")


def _stem(job: Job, name: str) -> Path:
    request = job.animation.output.request_id
    return Path(job.output) / (f"{name}-{request}" if request else name)


def _next_number(folder: Path) -> int:
    names = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
    return 1 + max((int(match[1]) for match in map(_NUMBERED.fullmatch, names) if match), default=0)
