"""What the user sees of a run: a bar with figures, a log of them, and TensorBoard."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from tqdm import tqdm

from animatediff_ext.trainer.config import Config
from animatediff_ext.trainer.loop import StepDone
from animatediff_ext.whole_file import whole_file

LOG, BOARD = "log.jsonl", "tensorboard"


class Clock:
    """How much of the time goes into waiting for data."""

    def __init__(self):
        self.begin = time.perf_counter()
        self.waited = 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.waited += time.perf_counter() - begin

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """What is done meanwhile is no part of the run's pace."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.begin += time.perf_counter() - begin

    def lap(self) -> tuple[float, float]:
        """Seconds since the last lap, and the share of them in which the run waited."""
        now = time.perf_counter()
        seconds, waited = now - self.begin, self.waited
        self.begin, self.waited = now, 0.0
        return seconds, waited / seconds if seconds else 0.0


class Progress:
    """Reports from the main process; in the others it says nothing.

    A run is worth more than the record of it: where that cannot be written, it is said once, and the run goes on.
    """

    def __init__(self, config: Config, *, quiet: bool):
        self._config = config
        self._quiet = quiet
        self._folder = Path(config.run.output)
        self._bar = tqdm(disable=True)
        self._board = None
        self._losses: list[float] = []
        self._clips = 0
        self._said: set[str] = set()
        self.clock = Clock()

    def say(self, text: str) -> None:
        """A line above the bar."""
        if not self._quiet:
            tqdm.write(text, file=sys.stderr)

    def say_once(self, text: str) -> None:
        """The same, unless it was said before or is empty."""
        if text and text not in self._said:
            self._said.add(text)
            self.say(text)

    def start(self, step: int) -> None:
        """Show the bar, ``step`` steps being done."""
        self._bar = tqdm(
            total=self._config.run.steps,
            initial=step,
            disable=self._quiet,
            unit="step",
            dynamic_ncols=True,
            smoothing=0.1,
        )
        if not self._quiet:
            with self._or_without(LOG):
                self._forget_after(step)
            with self._or_without(BOARD):
                self._board = self._tensorboard(step) if self._config.log.tensorboard else None
        self.clock.lap()

    def step(self, step: int, done: StepDone, *, clips: int) -> None:
        """After each optimizer step, with the clips of all processes in it."""
        self._bar.update()
        self._losses.append(done.loss)
        self._clips += clips
        if step % self._config.log.every and step < self._config.run.steps:
            return
        seconds, waiting = self.clock.lap()
        figures = {
            "loss": sum(self._losses) / len(self._losses),
            "learning_rate": done.rate,
            "gradient_norm": done.norm,
            "clips_per_s": self._clips / seconds,
            "waiting_for_data": waiting,
            "peak_memory_gib": peak_memory() / 2**30,
        }
        self._losses, self._clips = [], 0
        self.record(step, figures)
        self._bar.set_postfix_str(
            f"loss {figures['loss']:.4f}, {figures['clips_per_s']:.2f} clips/s, waiting {waiting:.0%}, "
            f"{figures['peak_memory_gib']:.1f} GiB"
        )

    def record(self, step: int, figures: Mapping[str, float]) -> None:
        """One line of the log, one point of each curve."""
        if self._quiet or not figures:
            return
        # JSON knows no infinity: fp16 has steps that are left out, whose norm is none.
        known = {name: value if math.isfinite(value) else None for name, value in figures.items()}
        line = json.dumps({"step": step} | known) + "\n"
        with self._or_without(LOG), (self._folder / LOG).open("a", encoding="utf-8") as file:
            file.write(line)
        if self._board is not None:
            with self._or_without(BOARD):
                for name, value in figures.items():
                    self._board.add_scalar(name, value, step)

    def close(self) -> None:
        self._bar.close()
        if self._board is not None:
            with self._or_without(BOARD):
                self._board.close()

    @contextmanager
    def _or_without(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            self.say_once(f"{self._folder / name} cannot be written ({reason}): the run goes on without it.")

    def _forget_after(self, step: int) -> None:
        """Drop entries of steps that are about to be done again, so that no curve doubles back."""
        log = self._folder / LOG
        if log.is_file():
            lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
            with whole_file(log) as part:
                part.write_text("".join(line for line in lines if _step_of(line) <= step), encoding="utf-8")

    def _tensorboard(self, step: int):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.say("No curves are written: `pip install tensorboard`, or set log.tensorboard=false.")
            return None
        return SummaryWriter(str(self._folder / BOARD), purge_step=step + 1)


def _step_of(line: str) -> float:
    """Infinite where a line was cut short."""
    try:
        return json.loads(line)["step"]
    except ValueError:
        return math.inf


def peak_memory() -> int:
    """Most bytes in use so far: of the GPU where there is one, else of this process; 0 where that is not known."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2) of macOS and of Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
