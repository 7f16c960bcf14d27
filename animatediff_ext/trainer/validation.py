"""Looking at a run without disturbing it: clips at fixed seeds, and a loss at fixed timesteps.

Nothing here draws from a generator of the run, and everything that is attached or exchanged goes back as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path

import torch

from animatediff_ext.media import WRITERS, MediaError
from animatediff_ext.params import Animation, Context
from animatediff_ext.standalone.sampling import animate
from animatediff_ext.standalone.spatial import SpatialModel
from animatediff_ext.trainer.base import load_base
from animatediff_ext.trainer.config import Config, parse_size
from animatediff_ext.trainer.data.take import Take
from animatediff_ext.trainer.encode import Batch
from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.loop import Trainer
from animatediff_ext.trainer.noising import loss_per_clip
from animatediff_ext.trainer.stop import StopWish


class Validation:
    """What is done every ``validate.every`` steps. The work is shared among the processes."""

    def __init__(self, trainer: Trainer, held_out: list[Take], stop: StopWish):
        """Raises `TrainError` for what cannot be done later on."""
        self._trainer = trainer
        self._stop = stop
        self._config: Config = trainer.config
        self._num_held_out = len(held_out)
        num_timesteps = len(trainer.noising.alphas_cumprod)
        beyond = [timestep for timestep in self._config.validate.timesteps if timestep >= num_timesteps]
        if held_out and beyond:
            raise TrainError(
                f"validate.timesteps has {beyond[0]}, but the motion module has {num_timesteps} timesteps: remove it."
            )
        # Encoded now: a clip that cannot be read is better known of before the run than in its midst.
        mine = held_out[trainer.group.rank :: trainer.group.world]
        self._held_out = [trainer.encoder.held_out(take) for take in mine]
        self._labels = _labels(trainer.stage.spatial, self._config.validate.checkpoints)
        if self._config.validate.every and self._config.validate.prompts:
            self._check()

    def _check(self) -> None:
        missing = [path for path in self._config.validate.checkpoints if not Path(path).exists()]
        if missing:
            raise TrainError(f"validate.checkpoints has {missing[0]}, which is not there: correct or remove it.")
        _, _, num_frames = self._size()
        motion = self._trainer.stage.motion
        if motion is not None and num_frames > motion.config.num_positions:
            raise TrainError(
                f"Validation clips have {num_frames} frames, but the motion module knows {motion.config.num_positions} "
                "positions: give a validate.size with at most so many."
            )

    def _size(self) -> tuple[int, int, int]:
        """Width, height and frames of the clips."""
        return parse_size(self._config.validate.size or self._config.sample.buckets[0])

    def is_due(self, step: int) -> bool:
        options = self._config.validate
        wanted = options.prompts or self._num_held_out
        return bool(options.every and wanted and (step % options.every == 0 or step == self._config.run.steps))

    def run(self) -> tuple[dict[str, float], list[str]]:
        """Write the clips; returns the figures, and what could not be done.

        A clip that fails is no reason to stop a run. When the run is to stop, no further clip is begun.
        """
        losses = self._losses() if self._num_held_out else {}
        with self._trainer.as_exported():
            problems = self._clips()
        return losses, list(self._trainer.group.union(dict.fromkeys(problems, "")))

    # ---- loss ----

    @torch.no_grad()
    def _losses(self) -> dict[str, float]:
        """The mean loss over the held-out clips at each timestep, and over all timesteps."""
        trainer, group = self._trainer, self._trainer.group
        timesteps = self._config.validate.timesteps
        sums = [0.0] * len(timesteps)
        with trainer.as_exported():
            for batch in self._held_out:
                trainer.attach(batch.num_frames)
                for i, timestep in enumerate(timesteps):
                    sums[i] += self._loss(batch, timestep)
        means = [total / self._num_held_out for total in group.sums(sums)]
        by_timestep = {f"validation_loss/t{timestep}": mean for timestep, mean in zip(timesteps, means, strict=True)}
        return {"validation_loss": sum(means) / len(means)} | by_timestep

    def _loss(self, batch: Batch, timestep: int) -> float:
        trainer, x0 = self._trainer, batch.latents
        at = torch.tensor([timestep])
        noise = trainer.noising.noise(x0.shape[1:], *batch.keys[0], timestep).to(x0.device)[None]
        with trainer.autocast():
            prediction = trainer.predict(trainer.noising.noised(x0, noise, at), at.to(x0.device), batch.conditioning)
        return loss_per_clip(prediction, trainer.noising.target(x0, noise, at)).item()

    # ---- clips ----

    def _clips(self) -> list[str]:
        """One GIF for each prompt on each checkpoint, in ``validation/step-…`` of the run's folder."""
        group, num_prompts = self._trainer.group, len(self._config.validate.prompts)
        jobs = [(path, number) for path in self._labels for number in range(num_prompts)]
        mine = jobs[group.rank :: group.world]
        problems = []
        for path in dict.fromkeys(path for path, _ in mine):
            try:
                self._clips_on(path, [number for other, number in mine if other == path])
            except _StoppedError:
                break
            except (ValueError, OSError, RuntimeError, MediaError) as error:  # also out of memory
                problems.append(
                    f"No validation clips on {path or 'the base'}: {next(iter(str(error).splitlines()), error)}"
                )
        return problems

    def _clips_on(self, path: str, numbers: list[int]) -> None:
        """On one checkpoint, which is let go of before the next one is read."""
        self._break_off()
        spatial = self._model(path)
        with self._trainer.stage.in_use(spatial):
            for number in numbers:
                self._clip(spatial, number, self._labels[path])

    def _model(self, path: str) -> SpatialModel:
        """The base, or a personalised checkpoint."""
        base = self._trainer.stage.spatial
        if not path:
            return base
        return load_base(replace(self._config.base, checkpoint=path), base.unet.device, base.unet.dtype)

    def _clip(self, spatial: SpatialModel, number: int, label: str) -> None:
        options = self._config.validate
        width, height, num_frames = self._size()
        latents = animate(
            spatial,
            self._trainer.stage.motion,
            prompt=options.prompts[number],
            negative=options.negative,
            animation=Animation(num_frames=num_frames, context=Context(length=num_frames)),
            clip_skip=self._config.base.clip_skip,
            width=width,
            height=height,
            num_steps=options.steps,
            cfg=options.cfg,
            seed=options.seed + number,
            on_step=self._break_off,
        )
        folder = Path(self._config.run.output) / "validation" / f"step-{self._trainer.step:08d}"
        path = folder / f"{label}-{number + 1}.gif"
        WRITERS["GIF"](spatial.decode(latents), path, fps=options.fps, comment=options.prompts[number])

    def _break_off(self, *_steps: int) -> None:
        if self._stop:
            raise _StoppedError


class _StoppedError(Exception):
    """Somebody wants the run to stop."""


def _labels(base: SpatialModel, checkpoints: Sequence[str]) -> dict[str, str]:
    """Checkpoint → the name of its files, no two the same; the base is the empty path."""
    labels: dict[str, str] = {"": base.title}
    for path in checkpoints:
        stem = Path(path).stem
        names = chain([stem], (f"{stem}-{number}" for number in count(2)))
        taken = {label.casefold() for label in labels.values()}  # some disks do not tell capitals from small letters
        labels[path] = next(name for name in names if name.casefold() not in taken)
    return labels
