"""Where the files of a job go, and whether they are there already."""

from __future__ import annotations

import re
from pathlib import Path

from animatediff_ext.media import ENDINGS, read_comment
from animatediff_ext.save import FILE_ORDER
from animatediff_ext.setting import SettingsError
from animatediff_ext.standalone.infotext import job_in
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


def files_of(job: Job, stem: Path) -> list[Path]:
    """The files that the job writes; of PNG it is a folder."""
    return [stem.with_name(stem.name + ENDINGS[name]) for name in FILE_ORDER if name in job.animation.output.formats]


def is_done(job: Job, stem: Path) -> bool:
    """Whether all files of a job are there.

    Raises `SettingsError` where a file of its name is there that another job made: it would be lost.
    """
    files = files_of(job, stem)
    there = [path for path in files if path.exists()]
    for path in there:
        if job_in(_comment_of(path)) != job.digest:
            raise SettingsError(f"{path} is there already, and not of this job: give another name, or remove it first.")
    return len(there) == len(files)


def _comment_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.suffix == ".txt" else read_comment(path)
