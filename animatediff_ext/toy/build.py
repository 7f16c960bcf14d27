"""The toy world from nothing but seeds: ``python -m animatediff_ext toy build``.

Parts are made one after the other; a part that is there is not made again, and one that was stopped goes on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from diffusers import AutoencoderKL
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from animatediff_ext.formats import sha256_of_file
from animatediff_ext.standalone import load_spatial_model
from animatediff_ext.toy.abreast import beside, train_abreast
from animatediff_ext.toy.checkpoint import write_checkpoint, write_clip_config
from animatediff_ext.toy.clips import STRIDE, some_caption, write_videos
from animatediff_ext.toy.draw import draw
from animatediff_ext.toy.files import ADAPTER, BASE, CHALK, CLIP_FOLDER, DUSK, MOTION, ZOOM
from animatediff_ext.toy.fit import Plan
from animatediff_ext.toy.learn_image import ImageModel, encoded_stills, learn_base, personalise
from animatediff_ext.toy.learn_vae import learn_vae, sharpen
from animatediff_ext.toy.networks import SCHEDULE, new_vae
from animatediff_ext.toy.scene import CLIP_FRAMES, SIDE, random_scene
from animatediff_ext.toy.studio import FRAME_NOISE
from animatediff_ext.toy.words import write_tokenizer
from animatediff_ext.trainer.config import (
    Adapter,
    Base,
    Cache,
    Checkpoint,
    Config,
    Data,
    Diffusion,
    Ema,
    Log,
    Lora,
    Motion,
    Optim,
    Precision,
    Run,
    Sample,
    Validate,
)
from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.export import BASE_HASH
from animatediff_ext.trainer.export_state import export_state
from animatediff_ext.trainer.run import train
from animatediff_ext.trainer.state import load_state, states_folder, states_in
from animatediff_ext.whole_file import replace, whole_file

LEARNT, SHARP = "vae.safetensors", "vae-sharp.safetensors"
"""The VAE before and after its decoder has gone on to learn."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How much of everything."""

    seed: int = 0
    vae: Plan = Plan(num_steps=4000, lr=2e-3)
    decoder: Plan = Plan(num_steps=8000, lr=1e-3)
    num_pictures: int = 12_288
    base: Plan = Plan(num_steps=4500, lr=1e-3, ema=0.998)
    dusk: Plan = Plan(num_steps=3000, lr=8e-4, ema=0.998)
    num_videos: int = 1536
    num_zooms: int = 160
    num_chalks: int = 256
    adapter_steps: int = 300
    motion_steps: int = 4500
    zoom_steps: int = 1500
    chalk_steps: int = 2000


def build(
    recipe: Recipe, work: Path, target: Path, say: Callable[[str], None] = print, *, num_processes: int = 1
) -> None:
    """Make what is missing in ``target``. What is in between is kept in ``work``, and may be thrown away afterwards.

    With several processes it is made in less time, and its numbers differ in their last bits.
    """
    Build(recipe, work, target, say, num_processes).run()


class Build:
    """The parts, each a method that makes files which later ones read."""

    def __init__(self, recipe: Recipe, work: Path, target: Path, say: Callable[[str], None], num_processes: int = 1):
        self.recipe = recipe
        self.work = work
        self.target = target
        self._say = say
        self._num_processes = num_processes

    def run(self) -> None:
        self.target.mkdir(parents=True, exist_ok=True)
        if not (self.target / BASE).exists():
            self._base()
        if not self._is_of_this_base(DUSK):
            self._dusk()
        self._stage("adapter", self._adapter, ADAPTER)
        self._stage("motion", self._motion, MOTION)
        self._stage("lora", self._zoom, ZOOM)
        self._stage("adapter", self._chalk, CHALK, exported="_webui")

    def _is_of_this_base(self, name: str) -> bool:
        """Whether a file is there, and was made for the base model that is there."""
        path = self.target / name
        if not path.exists():
            return False
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get(BASE_HASH) == sha256_of_file(self.target / BASE)

    # ---- networks ----

    def _base(self) -> None:
        vae, seed = self._vae(), self.recipe.seed + 1
        tokenizer = write_tokenizer(self.target / CLIP_FOLDER)
        with self._sharpening():
            stills = encoded_stills(vae, "paper", self.recipe.num_pictures, seed)
            model = learn_base(stills, tokenizer, seed, self.recipe.base, self.work / "base")
        vae.load_state_dict(load_file(self.work / SHARP))
        write_clip_config(self.target / CLIP_FOLDER, model.text_encoder)
        self._say(str(write_checkpoint(self.target / BASE, model.unet, vae, model.text_encoder)))

    def _vae(self) -> AutoencoderKL:
        """Its encoder is that of the base; its decoder has more to learn."""
        if not (self.work / LEARNT).exists():
            _keep(learn_vae(self.recipe.seed, self.recipe.vae, self.work / "vae"), self.work / LEARNT)
        return _loaded_vae(self.work / LEARNT)

    def _sharpening(self) -> AbstractContextManager[None]:
        """The decoder goes on learning while the block runs, unless it has done so."""
        if (self.work / SHARP).exists():
            return nullcontext()
        return beside(_sharpened, self.recipe, self.work, num_processes=self._num_processes)

    def _dusk(self) -> None:
        base = load_spatial_model(self.target / BASE)
        model = ImageModel(base.unet, base.text_encoders[0])
        seed = self.recipe.seed + 2
        stills = encoded_stills(base.vae, "dusk", self.recipe.num_pictures // 2, seed)
        personalise(model, stills, base.tokenizer, seed, self.recipe.dusk, self.work / "dusk")
        of_base = {BASE_HASH: sha256_of_file(self.target / BASE)}
        self._say(str(write_checkpoint(self.target / DUSK, model.unet, base.vae, model.text_encoder, of_base)))

    # ---- the trainer's stages ----

    def _stage(self, stage: str, settled: Callable[[], Config], name: str, exported: str = "") -> None:
        """Train, go on with training, or write the files of what has been trained. Raises `TrainError`."""
        if self._is_of_this_base(name):
            return
        config = settled()
        output = Path(config.run.output)
        states = states_in(states_folder(output))
        done = bool(states) and load_state(states[-1])["step"] == config.run.steps
        made = output / f"{config.run.name}{exported}.safetensors"
        if done:
            export_state(states[-1])
        elif self._num_processes == 1:
            train(stage, config, resume="auto")
        else:
            train_abreast(stage, config, self._num_processes)
        if not made.exists():  # it is written after the last step
            raise TrainError(f"{name} is not finished: the same command goes on with it.")
        with whole_file(self.target / name) as part:
            shutil.copyfile(made, part)
        self._say(f"{self.target / name}")

    def _adapter(self) -> Config:
        """Learns how videos look, from their frames."""
        options = {"lora": Lora(rank=8), "ema": Ema(decay=0.99), "density": "uniform"}  # a defect is there at any
        return self._config(
            "adapter", self._videos, self.recipe.adapter_steps, lr=3e-3, batch=16, num_frames=1, **options
        )

    def _motion(self) -> Config:
        return self._config(
            "motion",
            self._videos,
            self.recipe.motion_steps,
            lr=2e-3,
            batch=4,
            num_frames=CLIP_FRAMES,
            motion=Motion(family="v3"),
            adapter=Adapter(path=str(self.target / ADAPTER)),
            ema=Ema(decay=0.998),
        )

    def _zoom(self) -> Config:
        return self._config(
            "zoom",
            self._zooms,
            self.recipe.zoom_steps,
            lr=2e-3,
            batch=4,
            num_frames=CLIP_FRAMES,
            lora=Lora(rank=8),
            motion=Motion(init=str(self.target / MOTION)),
            ema=Ema(decay=0.99),
        )

    def _chalk(self) -> Config:
        """A look as a LoRA: the same stage learns any."""
        # How light the ground is, is decided at once, so no timestep is left out.
        options = {"lora": Lora(rank=16), "ema": Ema(decay=0.99), "density": "uniform"}
        return self._config("chalk", self._chalks, self.recipe.chalk_steps, lr=3e-3, batch=16, num_frames=1, **options)

    def _config(
        self,
        name: str,
        data: Callable[[], Path],
        steps: int,
        *,
        lr: float,
        batch: int,
        num_frames: int,
        density: str = "logit-normal",
        **sections,
    ) -> Config:
        """What all stages have in common. Most timesteps are from the middle, where pictures and motion are decided:
        earlier there is nothing to be seen, later all is settled."""
        stride = STRIDE if num_frames > 1 else 1
        base = sha256_of_file(self.target / BASE)
        folder = self.work / f"{name}-{base[:8]}-{steps}"  # another base, or more steps, is another run
        common = {
            "run": Run(name=f"toy-{name}", output=str(folder.absolute()), steps=steps, seed=self.recipe.seed),
            "base": Base(checkpoint=str(self.target / BASE)),
            "data": (Data(path=str(data())),),
            "sample": Sample(
                buckets=(f"{SIDE}x{SIDE}x{num_frames}",), stride=stride, starts=1, flip=False, batch=batch, workers=0
            ),
            "cache": Cache(folder=str(self.work / "cache")),
            # The base was trained on these betas, and sees nothing else here. AnimateDiff's own choice, other betas
            # than the image model's, costs a small frozen model more than it gives.
            "diffusion": Diffusion(
                schedule=SCHEDULE.kind,
                beta_start=SCHEDULE.beta_start,
                beta_end=SCHEDULE.beta_end,
                timestep_density=density,
                frame_noise=FRAME_NOISE if num_frames > 1 else 0,
            ),
            "optim": Optim(lr=lr, beta2=0.99, warmup=max(1, steps // 20), schedule="cosine"),
            "precision": Precision(amp="fp32", gradient_checkpointing=False),
            "validate": Validate(every=0),
            "checkpoint": Checkpoint(every=250),
            "log": Log(tensorboard=False),
        }
        return Config(**common | sections)

    # ---- data ----

    def _videos(self) -> Path:
        number = self.recipe.num_videos
        return self._made(f"videos-{number}", lambda folder: write_videos(folder, number, 3, defect=True))

    def _zooms(self) -> Path:
        number = self.recipe.num_zooms
        return self._made(f"zooms-{number}", lambda folder: write_videos(folder, number, 4, defect=False, zoom=True))

    def _chalks(self) -> Path:
        number = self.recipe.num_chalks
        return self._made(f"chalks-{number}", lambda folder: write_stills(folder, number, 5, "chalk"))

    def _made(self, name: str, write: Callable[[Path], object]) -> Path:
        """A folder of data that is there only when it is whole."""
        folder = self.work / name
        if not folder.exists():
            part = self.work / f"{name}.part"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            write(part)
            replace(part, folder)
        return folder / "clips.jsonl" if (folder / "clips.jsonl").exists() else folder


def _sharpened(recipe: Recipe, work: Path) -> None:
    vae = _loaded_vae(work / LEARNT)
    sharpen(vae, recipe.seed + 6, recipe.decoder, work / "decoder")
    _keep(vae, work / SHARP)


def _loaded_vae(path: Path) -> AutoencoderKL:
    vae = new_vae()
    vae.load_state_dict(load_file(path))
    return vae.eval().requires_grad_(False)


def _keep(vae: AutoencoderKL, path: Path) -> None:
    with whole_file(path) as part:
        save_file({name: tensor.contiguous() for name, tensor in vae.state_dict().items()}, part)


def write_stills(folder: Path, num_pictures: int, seed: int, look: str) -> None:
    """PNG files of one look, with captions beside them."""
    random = np.random.default_rng([seed, num_pictures])
    for number in range(num_pictures):
        scene = random_scene(random)
        Image.fromarray(draw(scene, look)).save(folder / f"{number:05}.png")
        (folder / f"{number:05}.txt").write_text(some_caption(random, scene), encoding="utf-8")
