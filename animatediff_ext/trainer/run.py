"""One run from its configuration to the exported file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import torch

from animatediff_ext.held import LOCK, held
from animatediff_ext.out_of_memory import is_out_of_memory
from animatediff_ext.standalone.devices import idle_gpu
from animatediff_ext.trainer.base import amp_dtype, load_base
from animatediff_ext.trainer.config import Config
from animatediff_ext.trainer.config_file import as_text, flat_values
from animatediff_ext.trainer.data.dataset import Example
from animatediff_ext.trainer.data.take import buckets_of
from animatediff_ext.trainer.encode import Encoder
from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.export import export, files_of
from animatediff_ext.trainer.loop import Deadline, StepDone, Trainer
from animatediff_ext.trainer.material import Material, gather
from animatediff_ext.trainer.processes import Processes, processes
from animatediff_ext.trainer.progress import Progress
from animatediff_ext.trainer.stages import STAGES, Stage
from animatediff_ext.trainer.state import (
    CLIPS,
    PROCESSES,
    State,
    load_state,
    save_state,
    set_aside,
    state_to_resume,
    states_folder,
)
from animatediff_ext.trainer.stop import StopWish, stop_on_signals
from animatediff_ext.trainer.validation import Validation
from animatediff_ext.whole_file import whole_file


def train(stage: str, config: Config, *, resume: str | None = None) -> list[Path]:
    """Train, and return the exported files; none where the run was stopped before its last step.

    ``resume`` is None, ``auto`` or the path of a state. Raises `TrainError`, or what the models' files raise.
    """
    with processes() as group, _out_of_memory_said(), ExitStack() as stack:
        group.from_main(lambda: stack.enter_context(_alone_in(Path(config.run.output))))
        path = group.from_main(lambda: state_to_resume(config.run.output, resume))
        state = group.together(lambda: _state(stage, config, path))
        material = group.from_main(lambda: gather(config, group.world, stills=stage == "adapter"))
        # Until here there is nothing to save, and a signal ends the process as any other.
        with stop_on_signals() as stop:
            run = group.together(lambda: Run(stage, config, group, material, stop))
            with closing(run):
                return run.go(state)


@contextmanager
def _alone_in(output: Path) -> Iterator[None]:
    """Two runs of one folder would go on from each other's states. Raises `TrainError`."""
    try:
        with held(output / LOCK, wait=False):
            yield
    except BlockingIOError as error:
        raise TrainError(
            f"Another run writes to {output} now: wait for its end, or choose another folder with --set run.output=…"
        ) from error


def build(stage: str, config: Config, group: Processes, material: Material, amp: torch.dtype | None = None) -> Trainer:
    """The models, what is trained in them, and the optimizer; ``amp`` is by default what suits the device."""
    amp = amp or amp_dtype(config.precision, group.device)
    spatial = load_base(config.base, group.device, amp)
    made = STAGES[stage](spatial, config)
    _check_frames(made, config)
    return Trainer(config, made, Encoder(spatial, material.cache, config), group, amp)


def _check_frames(stage: Stage, config: Config) -> None:
    """Raises `TrainError` where the motion module has fewer positions than a bucket has frames."""
    if stage.motion is None:
        return
    known = stage.motion.config.num_positions
    for bucket in buckets_of(config.sample):
        if bucket.num_frames > known:
            longer = "start from a module that knows more" if config.motion.init else "raise motion.positions"
            raise TrainError(
                f"sample.buckets has {bucket}, of {bucket.num_frames} frames, but the motion module knows {known} "
                f"positions: take buckets of at most {known} frames, or {longer}."
            )


class Run:
    """A run in progress, in one process."""

    def __init__(self, stage: str, config: Config, group: Processes, material: Material, stop: StopWish):
        self._config = config
        self._group = group
        self._material = material
        self._stop = stop
        self._saved = 0  # a run that was stopped before its first step has nothing to go on from
        self._trainer = build(stage, config, group, material)
        self._validation = Validation(self._trainer, material.held_out, stop)
        self._progress = Progress(config, quiet=not group.is_main)

    def go(self, state: State | None) -> list[Path]:
        """From a state or the beginning to the end, or to where somebody stops it."""
        self._trainer.share_gradients()
        self._progress.say(self._material.report())
        for warning in _warnings(self._config):
            self._progress.say(warning)
        if state is not None:
            self._go_on(state)
            state.clear()  # gigabytes, which the frames above this one would hold to the end of the run
        self._group.from_main(self._note_options)
        stopped_by = self._train()
        if stopped_by:
            self._progress.say(f"Stopped by {stopped_by} after step {self._trainer.step}: go on with --resume auto.")
            return []
        return self._group.from_main(self._export)

    def _go_on(self, state: State) -> None:
        self._group.together(lambda: self._trainer.restore(state))
        aside = self._group.from_main(lambda: set_aside(states_folder(self._config.run.output), state["step"]))
        for before, after in aside:
            self._progress.say(f"{before.name} is of a later step, and was renamed to {after.name}.")
        self._saved = state["step"]
        self._progress.say(f"Going on after step {state['step']}.{_differences(self._facts(), state)}")

    def close(self) -> None:
        self._trainer.detach()
        self._progress.close()

    def _train(self) -> str:
        """Returns who stopped it before the last step, empty if nobody. Raises `TrainError` where reading fails."""
        trainer, num_steps = self._trainer, self._config.run.steps
        deadline, first = Deadline(self._config.run.minutes), trainer.step
        self._progress.start(trainer.step)
        steps = self._material.steps(self._config, self._group, trainer.stage.spatial.vae_fingerprint, trainer.step)
        while trainer.step < num_steps:
            with self._progress.clock.waiting():
                parts, problem = self._next(steps)
            out_of_time = deadline and trainer.step > first  # a run that is gone on with again and again gets somewhere
            stopped_by = self._group.first([self._stop.reason, "run.minutes" if out_of_time else "", problem])
            if stopped_by:
                self._save()
                if stopped_by == self._group.first([problem]):
                    raise self._group.said_once(TrainError(f"{stopped_by} {self._saved_so_far()}".strip()))
                return stopped_by
            self._after_step(trainer.train_step(parts))
        return ""

    def _next(self, steps: Iterator[list[list[Example]]]) -> tuple[list[list[Example]], str]:
        """What the next step is made of, or why there is nothing: not said here, where other processes go on and would
        wait for this one. A scheduler's SIGTERM ends the readers as well, which is no problem.
        """
        try:
            return next(steps), ""
        except TrainError as error:
            return [], "" if self._stop else str(error)

    def _saved_so_far(self) -> str:
        step = self._trainer.step
        return f"The run was saved after step {step}, and goes on with --resume auto." if step else ""

    def _after_step(self, done: StepDone) -> None:
        """What is saved comes first: nothing that fails after it costs a step."""
        step = self._trainer.step
        too_many_bad = self._too_many_bad()
        if step == self._config.run.steps or too_many_bad or self._is_due(self._config.checkpoint.every):
            self._save()
        self._progress.step(step, done, clips=self._material.plan.global_batch)
        self._say_what_is_amiss()
        if too_many_bad:
            raise self._group.said_once(TrainError(too_many_bad))
        if self._validation.is_due(step) and not self._group.first([self._stop.reason]):
            with self._progress.clock.standing_still():
                figures, problems = self._validation.run()
            self._progress.record(step, figures)
            for problem in problems:
                self._progress.say(problem)

    def _is_due(self, every: int) -> bool:
        return bool(every) and self._trainer.step % every == 0

    def _say_what_is_amiss(self) -> None:
        """Each thing once: clips that cannot be read, a cache that cannot be written."""
        for name, reason in self._trainer.bad.items():
            self._progress.say_once(f"Another clip stands in for {name}, which {reason}")
        self._progress.say_once(self._material.cache.problem)

    def _too_many_bad(self) -> str:
        """What to say where so many clips cannot be read that there is a mistake somewhere; empty where not."""
        bad, limit = self._trainer.bad, self._config.sample.max_bad
        if len(bad) <= limit:
            return ""
        names = ", ".join(list(bad)[:10])
        return (
            f"{len(bad)} clips cannot be read, and sample.max_bad is {limit}: {names}. Mend or remove them, or raise "
            f"sample.max_bad. {self._saved_so_far()}"
        )

    def _save(self) -> None:
        if self._trainer.step == self._saved:
            return
        self._saved = self._trainer.step
        self._group.from_main(
            lambda: save_state(
                states_folder(self._config.run.output),
                self._trainer.state() | {"config": self._facts()},
                self._config.checkpoint.keep,
            )
        )

    def _facts(self) -> dict[str, Any]:
        """The options, and what else decides a run's order."""
        return flat_values(self._config) | {PROCESSES: self._group.world, CLIPS: self._material.digest}

    def _export(self) -> list[Path]:
        with self._trainer.as_exported():
            return export(self._trainer.stage, self._config, self._trainer.step)

    def _note_options(self) -> None:
        with whole_file(Path(self._config.run.output) / "options.txt") as part:
            part.write_text(as_text(self._config) + "\n", encoding="utf-8")


def _state(stage: str, config: Config, path: Path | None) -> State | None:
    state = None if path is None else load_state(path, stage=stage)
    if state is None or state["step"] < config.run.steps:
        return state
    if state["step"] > config.run.steps or all(file.exists() for file in files_of(stage, config)):
        raise TrainError(
            f"{path} has {state['step']} steps, and run.steps is {config.run.steps}, so there is nothing to do: raise "
            "run.steps, or write the files again with `train export`."
        )
    return state  # it ended after its last step, before its files were written


def _differences(now: dict[str, Any], state: State) -> str:
    """What is not as it was: the user may want it so, and may not."""
    before = {CLIPS: now[CLIPS]} | state["config"]  # earlier versions noted nothing of the clips
    names = [*now, *(name for name in before if name not in now)]
    changed = [_difference(name, before) for name in names if before.get(name) != now.get(name)]
    return f" Not as before: {', '.join(changed)}." if changed else ""


def _difference(name: str, before: dict[str, Any]) -> str:
    return "the clips were others" if name == CLIPS else f"{name} was {before.get(name, 'not there')}"


def _warnings(config: Config) -> Iterator[str]:
    if sentence := idle_gpu():
        yield sentence
    if config.optim.name == "prodigy" and config.optim.lr < 0.1:
        yield (
            f"Prodigy finds its own learning rate and takes optim.lr, which is {config.optim.lr:g}, as a factor: "
            "set it to 1."
        )


@contextmanager
def _out_of_memory_said() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainError(
            "Out of memory. In this order, set precision.gradient_checkpointing to true, precision.amp to bf16 (fp16 "
            "on older GPUs), sample.batch to 1 and sample.accumulate higher, optim.name to adamw8bit, ema.decay to 0, "
            "and take smaller sample.buckets; `train check` estimates what that saves."
        ) from error
