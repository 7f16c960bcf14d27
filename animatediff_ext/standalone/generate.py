"""All jobs of one call, one after the other."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from animatediff_ext.held import LOCK, held
from animatediff_ext.media import EncodeOptions
from animatediff_ext.media.errors import DiskFullError
from animatediff_ext.media.files import check_new_folder, check_writable
from animatediff_ext.save import check_output, save_animation
from animatediff_ext.standalone.clip import make_clip, with_seed
from animatediff_ext.standalone.done import is_done
from animatediff_ext.standalone.job import Job
from animatediff_ext.standalone.job_list import Entry
from animatediff_ext.standalone.models import Models
from animatediff_ext.standalone.naming import stem_in_list, stem_of_one
from animatediff_ext.standalone.problems import sentence_of
from animatediff_ext.standalone.processes import ALONE, Process
from animatediff_ext.standalone.report import Report


def generate(entries: Sequence[Entry], process: Process = ALONE) -> int:
    """Make this process's share of the jobs that are not done; the answer is how many failed or were not begun.

    A job that fails is reported, and the others go on, unless the disk is full. Files appear only when whole, so a stop
    at any time leaves what was finished, and the same call goes on from there.
    """
    share = process.share(entries)
    report = Report(len(entries), show_bar=process.is_main)
    models = Models()
    for number, entry in enumerate(share, start=1):
        if not _attempt(entry, models, report, process):
            report.left = len(share) - number
            break
    report.end()
    return report.failed + report.left


def _attempt(entry: Entry, models: Models, report: Report, process: Process) -> bool:
    """Whether there is any use in going on with the next one."""
    if entry.job is None:
        report.problem(entry, entry.problem)
        return True
    try:
        _make(entry, entry.job, models, report, process)
        return True
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None and not entry.line:
            raise
        if sentence is None:  # a mistake of ours: the jobs after it are not to be lost by it
            traceback.print_exc()
            sentence = f"{type(error).__name__}: {error}. That is a mistake of this program: please report it."
        is_disk_full = isinstance(error, DiskFullError)
    # Behind the exception, which holds the tensors that filled the memory.
    report.problem(entry, sentence)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return not is_disk_full


def _make(entry: Entry, asked: Job, models: Models, report: Report, process: Process) -> None:
    job = with_seed(asked)
    stem = _stem(asked, entry, job.seed)
    if is_done(asked, stem):
        report.skipped(stem)
        return
    check_output(job.animation, EncodeOptions())
    _check_place(asked, stem)
    if job.seed != asked.seed:
        report.say(f"The seed of {stem.name} is {job.seed}.")
    with report.bar(stem.name) as on_step:
        clip = make_clip(
            job,
            models,
            digest=asked.digest,
            local_rank=process.local_rank,
            on_step=on_step,
            warn=partial(report.about, stem),
            advise=report.once,
        )
    with _still_ours(asked, entry, job.seed) as ours:
        say = partial(report.about, ours)
        files = save_animation(clip.frames, ours, clip.animation, comment=clip.infotext, say=say)
    report.done(list(files.values()))


def _check_place(job: Job, stem: Path) -> None:
    """Raises `MediaError` where the files of a job cannot be put, before it is sampled."""
    check_writable(stem.parent)
    if "PNG" in job.animation.output.formats:
        check_new_folder(stem)


def _stem(job: Job, entry: Entry, seed: int) -> Path:
    return stem_in_list(job, entry.number) if entry.line else stem_of_one(job, seed)


@contextmanager
def _still_ours(asked: Job, entry: Entry, seed: int) -> Iterator[Path]:
    """The stem that the files of a job get. Another command may have written to the folder while this one sampled."""
    if entry.line and not asked.name:  # number and content are nobody else's
        yield _stem(asked, entry, seed)
        return
    with held(Path(asked.output) / LOCK):
        stem = _stem(asked, entry, seed)
        is_done(asked, stem)  # by this job, not by another one
        yield stem
