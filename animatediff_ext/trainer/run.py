"""One run from its configuration to the exported file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from animatediff_ext.trainer.base import amp_dtype, load_base
from animatediff_ext.trainer.config import Config
from animatediff_ext.trainer.config_file import as_text, flat_values
from animatediff_ext.trainer.encode import Encoder
from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.export import export
from animatediff_ext.trainer.loop import Deadline, Trainer
from animatediff_ext.trainer.material import Material, gather
from animatediff_ext.trainer.processes import Processes, processes
from animatediff_ext.trainer.progress import Progress
from animatediff_ext.trainer.stages import STAGES
from animatediff_ext.trainer.state import State, load_state, save_state, state_to_resume, states_folder
from animatediff_ext.trainer.stop import StopWish, stop_on_signals
from animatediff_ext.trainer.validation import Validation
from animatediff_ext.whole_file import whole_file


def train(stage: str, config: Config, *, resume: str | None = None) -> list[Path]:
    """Train, and return the exported files; none where the run was stopped before its last step.

    ``resume`` is None, ``auto`` or the path of a state. Raises `TrainError`, or what the models' files raise.
    """
    with stop_on_signals() as stop, processes() as group:
        state = _state(stage, config, group.from_main(lambda: state_to_resume(config.run.output, resume)))
        material = group.from_main(lambda: gather(config, group.world, stills=stage == "adapter"))
        with _out_of_memory_said(), closing(Run(stage, config, group, material, stop)) as run:
            return run.go(state)


def build(stage: str, config: Config, group: Processes, material: Material) -> Trainer:
    """The models, what is trained in them, and the optimizer."""
    dtype = amp_dtype(config.precision, group.device)
    spatial = load_base(config.base, group.device, dtype)
    encoder = Encoder(
        spatial,
        material.cache,
        seed=config.run.seed,
        clip_skip=config.base.clip_skip,
        dropout=config.sample.caption_dropout,
    )
    return Trainer(config, STAGES[stage](spatial, config), encoder, group, dtype)


class Run:
    """A run in progress, in one process."""

    def __init__(self, stage: str, config: Config, group: Processes, material: Material, stop: StopWish):
        self._config = config
        self._group = group
        self._material = material
        self._stop = stop
        self._named_bad = 0
        self._trainer = build(stage, config, group, material)
        self._validation = Validation(self._trainer, material.held_out)
        self._progress = Progress(config, quiet=not group.is_main)

    def go(self, state: State | None) -> list[Path]:
        """From a state or the beginning to the end, or to where somebody stops it."""
        self._progress.say(self._material.report())
        if state is not None:
            self._trainer.restore(state)
            self._progress.say(f"Going on after step {state['step']}.{_differences(self._config, state)}")
        self._note_options()
        stopped_by = self._train()
        if stopped_by:
            self._progress.say(f"Stopped by {stopped_by} after step {self._trainer.step}: go on with --resume auto.")
            return []
        return self._group.from_main(self._export)

    def close(self) -> None:
        self._trainer.detach()
        self._progress.close()

    def _train(self) -> str:
        """Returns who stopped it before the last step, empty if nobody."""
        trainer, num_steps = self._trainer, self._config.run.steps
        deadline = Deadline(self._config.run.minutes)
        self._progress.start(trainer.step)
        steps = self._material.steps(self._config, self._group, trainer.stage.spatial.vae_fingerprint, trainer.step)
        while trainer.step < num_steps:
            with self._progress.clock.waiting():
                parts = next(steps)
            done = trainer.train_step(parts)
            self._progress.step(trainer.step, done, clips=self._material.plan.global_batch)
            self._check_bad()
            if self._validation.is_due(trainer.step):
                self._progress.record(trainer.step, self._validation.run())
            stopped_by = self._group.first([self._stop.reason, "run.minutes" if deadline else ""])
            if stopped_by or trainer.step == num_steps or self._is_due(self._config.checkpoint.every):
                self._save()
            if stopped_by and trainer.step < num_steps:
                return stopped_by
        return ""

    def _is_due(self, every: int) -> bool:
        return bool(every) and self._trainer.step % every == 0

    def _check_bad(self) -> None:
        """Clips that cannot be read are named once; too many of them are a mistake somewhere."""
        bad, limit = self._trainer.bad, self._config.sample.max_bad
        for name in list(bad)[self._named_bad :]:
            self._progress.say(f"Another clip stands in for {name}, which {bad[name]}")
        self._named_bad = len(bad)
        if len(bad) > limit:
            names = ", ".join(list(bad)[:10])
            raise TrainError(
                f"{len(bad)} clips cannot be read, and sample.max_bad is {limit}: {names}. Mend or remove them, or "
                "raise sample.max_bad; the run goes on from its last state with --resume auto."
            )

    def _save(self) -> None:
        self._group.from_main(
            lambda: save_state(
                states_folder(self._config.run.output),
                self._trainer.state() | {"config": flat_values(self._config)},
                self._config.checkpoint.keep,
            )
        )

    def _export(self) -> list[Path]:
        with self._trainer.as_exported():
            return export(self._trainer.stage, self._config, self._trainer.step)

    def _note_options(self) -> None:
        if self._group.is_main:
            with whole_file(Path(self._config.run.output) / "options.txt") as part:
                part.write_text(as_text(self._config) + "\n", encoding="utf-8")


def _state(stage: str, config: Config, path: Path | None) -> State | None:
    state = None if path is None else load_state(path, stage=stage)
    if state is not None and state["step"] >= config.run.steps:
        raise TrainError(
            f"{path} has {state['step']} steps, and run.steps is {config.run.steps}, so there is nothing to do: raise "
            "run.steps, or write the files again with `train export`."
        )
    return state


def _differences(config: Config, state: State) -> str:
    """Which options are not as they were: the user may want it so, and may not."""
    before = state["config"]
    changed = [f"{name} was {before.get(name)}" for name, now in flat_values(config).items() if before.get(name) != now]
    return f" Other options than before: {', '.join(changed)}." if changed else ""


@contextmanager
def _out_of_memory_said() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        words = str(error).lower()
        if isinstance(error, RuntimeError) and "out of memory" not in words and "can't allocate memory" not in words:
            raise
        raise TrainError(
            "Out of memory. In this order, set precision.gradient_checkpointing to true, precision.amp to bf16 (fp16 "
            "on older GPUs), sample.batch to 1 and sample.accumulate higher, optim.name to adamw8bit, ema.decay to 0, "
            "and take smaller sample.buckets; `train check` estimates what that saves."
        ) from error
