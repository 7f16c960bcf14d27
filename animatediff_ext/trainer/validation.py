"""Looking at a run without disturbing it: clips at fixed seeds, and a loss at fixed timesteps.

Nothing here draws from a generator of the run, and everything that is attached or exchanged goes back as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from animatediff_ext.media import WRITERS
from animatediff_ext.params import Animation, Context
from animatediff_ext.standalone.sampling import animate
from animatediff_ext.standalone.spatial import SpatialModel
from animatediff_ext.trainer.base import load_base
from animatediff_ext.trainer.config import Config, parse_size
from animatediff_ext.trainer.data.take import Take
from animatediff_ext.trainer.encode import Batch
from animatediff_ext.trainer.loop import Trainer
from animatediff_ext.trainer.noising import loss_per_clip


class Validation:
    """What is done every ``validate.every`` steps. The work is shared among the processes."""

    def __init__(self, trainer: Trainer, held_out: list[Take]):
        self._trainer = trainer
        self._config: Config = trainer.config
        self._num_held_out = len(held_out)
        # Encoded now: a clip that cannot be read is better known of before the run than in its midst.
        self._held_out = [
            trainer.encoder.held_out(take) for take in held_out[trainer.group.rank :: trainer.group.world]
        ]

    def is_due(self, step: int) -> bool:
        options = self._config.validate
        wanted = options.prompts or self._num_held_out
        return bool(options.every and wanted and (step % options.every == 0 or step == self._config.run.steps))

    def run(self) -> dict[str, float]:
        """Write the clips, and return the figures."""
        losses = self._losses() if self._num_held_out else {}
        with self._trainer.as_exported():
            self._clips()
        self._trainer.group.barrier()
        return losses

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

    def _clips(self) -> None:
        """One GIF for each prompt on each checkpoint, in ``validation/step-…`` of the run's folder."""
        group, prompts = self._trainer.group, self._config.validate.prompts
        jobs = [(path, number) for path in ("", *self._config.validate.checkpoints) for number in range(len(prompts))]
        mine = jobs[group.rank :: group.world]
        for path in dict.fromkeys(path for path, _ in mine):
            with self._model(path) as spatial, self._trainer.stage.in_use(spatial):
                for number in (number for other, number in mine if other == path):
                    self._clip(spatial, number)

    @contextmanager
    def _model(self, path: str) -> Iterator[SpatialModel]:
        """The base, or a personalised checkpoint for as long as it is needed."""
        base = self._trainer.stage.spatial
        yield (
            load_base(replace(self._config.base, checkpoint=path), base.unet.device, base.unet.dtype) if path else base
        )

    def _clip(self, spatial: SpatialModel, number: int) -> None:
        options = self._config.validate
        width, height, num_frames = parse_size(options.size or self._config.sample.buckets[0])
        latents = animate(
            spatial,
            self._trainer.stage.motion,
            prompt=options.prompts[number],
            negative=options.negative,
            animation=Animation(num_frames=num_frames, context=Context(length=num_frames)),
            width=width,
            height=height,
            num_steps=options.steps,
            cfg=options.cfg,
            seed=options.seed + number,
        )
        path = self._folder() / f"{spatial.title}-{number + 1}.gif"
        WRITERS["GIF"](spatial.decode(latents), path, fps=options.fps, comment=options.prompts[number])

    def _folder(self) -> Path:
        return Path(self._config.run.output) / "validation" / f"step-{self._trainer.step:08d}"
