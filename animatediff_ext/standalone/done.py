"""Whether the files of a job are there already."""

from __future__ import annotations

from pathlib import Path

from animatediff_ext.media import ENDINGS, read_comment
from animatediff_ext.save import FILE_ORDER
from animatediff_ext.setting import SettingsError
from animatediff_ext.standalone.infotext import job_in
from animatediff_ext.standalone.job import Job


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
    if path.suffix == ".txt" and path.is_file():  # pictures are in a folder, of any name
        return path.read_text(encoding="utf-8", errors="replace")
    return read_comment(path)
