"""What the user sees of a list of jobs: a bar for the job in work, the files of each one that is done."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from animatediff_ext.standalone.job_list import Entry
from animatediff_ext.standalone.sampling import OnStep


class Report:
    """Paths go to stdout, everything else to stderr."""

    def __init__(self, num_jobs: int, *, show_bar: bool):
        self.made = self.there = self.failed = self.left = 0
        self._num_jobs = num_jobs
        self._show_bar = show_bar
        self._warned: set[str] = set()

    @contextmanager
    def bar(self, title: str) -> Iterator[OnStep]:
        """Lend what counts the steps of one job."""
        with tqdm(desc=title, unit="step", disable=not self._show_bar, dynamic_ncols=True, leave=False) as bar:

            def on_step(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            yield on_step

    def done(self, files: Sequence[Path]) -> None:
        self.made += 1
        print("\n".join(map(str, files)), flush=True)

    def skipped(self, stem: Path) -> None:
        self.there += 1
        if self._num_jobs == 1:
            self.say(f"{stem} is there already: give another name, or remove its files to make them anew.")

    def problem(self, entry: Entry, sentence: str) -> None:
        self.failed += 1
        self.say(f"Line {entry.line}: {sentence}" if entry.line else sentence)

    def about(self, stem: Path, sentence: str) -> None:
        """What concerns one job; of many, which one."""
        self.say(f"{stem.name}: {sentence}" if self._num_jobs > 1 else sentence)

    def once(self, sentence: str) -> None:
        """For all jobs: what is said of the sampler or of a file holds for each that has it."""
        if sentence not in self._warned:
            self._warned.add(sentence)
            self.say(sentence)

    def say(self, sentence: str) -> None:
        tqdm.write(f"animatediff_ext: {sentence}", file=sys.stderr)

    def end(self) -> None:
        if self._num_jobs > 1:
            left = f", {self.left} were not begun" if self.left else ""
            self.say(f"{self.made} jobs made, {self.there} were there already, {self.failed} failed{left}.")
