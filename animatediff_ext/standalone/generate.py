"""All jobs of one call, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from animatediff_ext.held import LOCK, held
from animatediff_ext.media import EncodeOptions
from animatediff_ext.save import check_output, save_animation
from animatediff_ext.standalone.clip import make_clip, with_seed
from animatediff_ext.standalone.job import Job
from animatediff_ext.standalone.job_list import Entry
from animatediff_ext.standalone.models import Models
from animatediff_ext.standalone.naming import is_done, stem_in_list, stem_of_one
from animatediff_ext.standalone.problems import sentence_of
from animatediff_ext.standalone.processes import ALONE, Process
from animatediff_ext.standalone.report import Report


def generate(entries: Sequence[Entry], process: Process = ALONE) -> int:
    """Make this process's share of the jobs that are not done; the answer is how many failed.

    A job that fails is reported, and the others go on. Files appear only when whole, so a stop at any time leaves
    what was finished, and the same call goes on from there.
    """
    share = process.share(entries)
    report = Report(len(entries), show_bar=process.is_main)
    models = Models()
    for entry in share:
        _attempt(entry, models, report, process)
    report.end()
    return report.failed


def _attempt(entry: Entry, models: Models, report: Report, process: Process) -> None:
    if entry.job is None:
        report.problem(entry, entry.problem)
        return
    try:
        _make(entry, entry.job, models, report, process)
        return
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
    # Behind the exception, which holds the tensors that filled the memory.
    report.problem(entry, sentence)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _make(entry: Entry, asked: Job, models: Models, report: Report, process: Process) -> None:
    job = with_seed(asked)
    stem = stem_in_list(asked, entry.number) if entry.line else stem_of_one(asked, job.seed)
    if is_done(asked, stem):
        report.skipped(stem)
        return
    check_output(job.animation, EncodeOptions())
    if job.seed != asked.seed:
        report.say(f"The seed of {stem.name} is {job.seed}.")
    with report.bar(stem.name) as on_step:
        clip = make_clip(
            job,
            models,
            digest=asked.digest,
            local_rank=process.local_rank,
            on_step=on_step,
            warn=report.warn,
        )
    with _still_ours(asked, entry, stem, job.seed) as ours:
        files = save_animation(clip.frames, ours, clip.animation, comment=clip.infotext, say=report.say)
    report.done(list(files.values()))


@contextmanager
def _still_ours(asked: Job, entry: Entry, stem: Path, seed: int) -> Iterator[Path]:
    """The stem that the files of a job get. Another command may have written to the folder while this one sampled."""
    if entry.line:  # its name is nobody else's
        yield stem
        return
    with held(Path(asked.output) / LOCK):
        stem = stem_of_one(asked, seed)
        is_done(asked, stem)  # by this job, not by another one
        yield stem
