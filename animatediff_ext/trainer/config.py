"""Everything that a training run can be told, section by section.

Each option is named once, where its field is declared, with its default, its range and the sentence that ``train init``
writes above it. `animatediff_ext.trainer.config_file` reads and writes these as TOML.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any

from animatediff_ext.setting import Checked, SettingsError, setting
from animatediff_ext.whole_file import is_device

VERSION = 1
"""Of the configuration's format. A file that says another number is refused."""

TRAINABLE_FAMILIES = ("v1", "v2", "v3", "sdxl-beta")
MAX_TIMESTEP = 999


def option(default: Any, info: str, **facts) -> Any:
    """Declare an option. Its kind is that of its default; its name comes from its section and its field."""
    return setting(default, api="", kind=facts.pop("kind", type(default)), info=info, **facts)


def section(name: str):
    """A dataclass of options that are called ``name.field``."""

    def declare(cls: type) -> type:
        for key, entry in vars(cls).items():
            if isinstance(entry, dataclasses.Field) and "setting" in entry.metadata:
                known = dataclasses.replace(entry.metadata["setting"], api=f"{name}.{key}")
                entry.metadata = {"setting": known}
        return dataclass(frozen=True, kw_only=True)(cls)

    return declare


@section("run")
class Run(Checked):
    """What the run makes, and for how long."""

    name: str = option("my-motion", "name of the exported file")
    output: str = option(
        "runs/my-motion", "folder of the run: states, exports, validation clips, TensorBoard", is_path=True
    )
    steps: int = option(10_000, "optimizer steps in all", minimum=1)
    minutes: float = option(0.0, "stop with a saved state after so many minutes; 0: no limit", minimum=0)
    seed: int = option(0, "decides every random number of the run", minimum=0, maximum=2**32 - 1)


@section("base")
class Base(Checked):
    """The image model, which stays as it is."""

    checkpoint: str = option(
        "", "a .safetensors or .ckpt file of SD 1.5's or SDXL's layout, or a diffusers folder", is_path=True
    )
    vae: str = option("", "another VAE than the checkpoint's own", is_path=True)
    tokenizer: str = option(
        "", "folder of a CLIP tokenizer, where a single-file checkpoint has none beside it", is_path=True
    )
    prediction: str = option("auto", "what the UNet predicts", choices=("auto", "epsilon", "v"))
    text_chunks: int = option(
        1, "chunks of 75 tokens that the UNet reads of each caption; the rest is cut", minimum=1, maximum=16
    )
    clip_skip: int = option(
        1, "which layer of the text encoder is read, from its end as the WebUI counts; 1: the last", minimum=1
    )


@section("motion")
class Motion(Checked):
    """The motion module."""

    family: str = option(
        "auto",
        "layout and norms; auto: what `init` is, for a new one v3 or sdxl-beta",
        choices=("auto", *TRAINABLE_FAMILIES),
    )
    init: str = option("", "a motion module to start from; empty: a new one. A motion LoRA needs one", is_path=True)
    positions: int = option(0, "length of a new module's position table; 0: the family's own", minimum=0, maximum=4096)


@section("adapter")
class Adapter(Checked):
    """A domain adapter that is in place, frozen, while motion is learnt."""

    path: str = option("", "the file that `train adapter` made, or v3_sd15_adapter; empty: none", is_path=True)
    strength: float = option(1.0, "of the adapter")


@section("lora")
class Lora(Checked):
    """The low-rank matrices of the stages adapter and lora."""

    rank: int = option(64, "of the matrices", minimum=1, maximum=4096)
    alpha: float = option(0.0, "scale is alpha / rank, baked into what is exported; 0: alpha is the rank", minimum=0)
    debiased: bool = option(False, "add MotionDirector's appearance-debiased loss (arXiv 2310.08465, equation 6)")


@section("data")
class Data(Checked):
    """One source of clips. There may be several [[data]]."""

    path: str = option(
        "", "a folder of clips with captions beside them, a .csv, a .jsonl, a .tar, or a folder of .tar", is_path=True
    )
    format: str = option("auto", "how to read it", choices=("auto", "folder", "csv", "jsonl", "tar"))
    videos: str = option(
        "", "of a CSV or JSONL: the folder that its names are relative to; empty: the file's own", is_path=True
    )
    caption: str = option("", "for clips that have no caption of their own; empty: such clips are an error")
    repeats: int = option(1, "how often its clips come up in one pass over the data", minimum=1)


@section("sample")
class Sample(Checked):
    """What is taken from the clips."""

    buckets: tuple[str, ...] = option(
        ("256x256x16",),
        "WIDTHxHEIGHTxFRAMES; a clip goes into the one that fits its shape and length",
        kind=list,
    )
    stride: int = option(4, "take every Nth frame of a video", minimum=1)
    fps: float = option(0.0, "take frames at this rate, by their times; 0: use the stride", minimum=0, maximum=1000)
    starts: int = option(0, "different first frames of each clip; 0: any. A cache needs a number, such as 4", minimum=0)
    flip: bool = option(True, "mirror half of the clips, except where the caption names a direction")
    batch: int = option(1, "clips (for adapters: stills) that each process takes at once", minimum=1)
    accumulate: int = option(1, "batches whose gradients make one step", minimum=1)
    caption_dropout: float = option(0.1, "share of captions that are left out", minimum=0, maximum=1)
    workers: int = option(2, "processes that read clips; 0: the training process reads them itself", minimum=0)
    max_bad: int = option(10, "clips that cannot be read before the run stops", minimum=0)


@section("cache")
class Cache(Checked):
    """Latents and text embeddings on disk, so that later passes read no video."""

    folder: str = option("", "where they are kept; empty: no cache. Entries go stale by themselves", is_path=True)
    dtype: str = option("float16", "number format of the entries", choices=("float16", "float32"))


@section("diffusion")
class Diffusion(Checked):
    """Noise, timesteps and the loss."""

    schedule: str = option(
        "auto",
        "betas; auto: the motion family's own, for adapters that of the image model",
        choices=("auto", "linear", "scaled_linear"),
    )
    beta_start: float = option(0.00085, "of a schedule that is not auto", minimum=0, maximum=1)
    beta_end: float = option(0.012, "of a schedule that is not auto", minimum=0, maximum=1)
    zero_terminal_snr: bool = option(
        False,
        "no signal at the last timestep (arXiv 2305.08891); needs v prediction. Validation clips know nothing of it",
    )
    weighting: str = option(
        "none",
        "of timesteps, as if the error were measured in v or x0 (at most 100); none: in what the UNet predicts",
        choices=("none", "v", "x0"),
    )
    min_snr: float = option(0.0, "gamma of min-SNR weighting (arXiv 2303.09556), usually 5; 0: off", minimum=0)
    noise_offset: float = option(0.0, "share of noise that all places and frames have in common", minimum=0)
    frame_noise: float = option(0.0, "share of noise that the frames of a clip have in common", minimum=0, maximum=1)
    timestep_min: int = option(0, "lowest timestep that is trained", minimum=0, maximum=MAX_TIMESTEP)
    timestep_max: int = option(MAX_TIMESTEP, "highest timestep that is trained", minimum=0, maximum=MAX_TIMESTEP)
    timestep_density: str = option(
        "uniform",
        "how timesteps are drawn from this range; what frames have in common is decided at high noise",
        choices=("uniform", "high-noise", "low-noise", "logit-normal"),
    )


@section("optim")
class Optim(Checked):
    """The optimizer and its learning rate."""

    name: str = option("adamw", "the last two need their packages", choices=("adamw", "adamw8bit", "prodigy"))
    lr: float = option(1e-4, "learning rate; prodigy finds its own and wants 1", minimum=0)
    beta1: float = option(0.9, "of AdamW: decay of the mean of gradients", minimum=0, maximum=0.9999)
    beta2: float = option(0.999, "of AdamW: decay of the mean of their squares", minimum=0, maximum=0.999999)
    epsilon: float = option(1e-8, "of AdamW: added to the divisor", minimum=0)
    weight_decay: float = option(0.01, "share of a weight that a step takes off, times the learning rate", minimum=0)
    schedule: str = option("constant", "after the warm-up", choices=("constant", "linear", "cosine"))
    warmup: int = option(0, "steps in which the learning rate rises from 0", minimum=0)
    clip: float = option(1.0, "largest norm of the gradient; 0: not clipped", minimum=0)


@section("precision")
class Precision(Checked):
    """Number formats, and memory for time."""

    amp: str = option(
        "auto",
        "of the products; auto: bf16 on a GPU that has it, else fp16; fp32 on a CPU",
        choices=("auto", "bf16", "fp16", "fp32"),
    )
    gradient_checkpointing: bool = option(True, "compute activations twice instead of keeping them: far less memory")
    compile: bool = option(False, "torch.compile the blocks of the UNet and the motion module")


@section("ema")
class Ema(Checked):
    """A running mean of the trained weights, which is what is validated and exported."""

    decay: float = option(0.0, "such as 0.999; 0: none", minimum=0, maximum=1)


@section("validate")
class Validate(Checked):
    """Clips and a loss that show how the run goes, without disturbing it."""

    every: int = option(500, "steps; 0: never", minimum=0)
    prompts: tuple[str, ...] = option((), "one clip of each", kind=list)
    negative: str = option("", "negative prompt of them all")
    checkpoints: tuple[str, ...] = option(
        (), "personalised checkpoints to animate besides the base", kind=list, is_path=True
    )
    size: str = option("", "WIDTHxHEIGHTxFRAMES; empty: that of the first bucket")
    steps: int = option(25, "of the sampler, DDIM", minimum=1, maximum=1000)
    cfg: float = option(7.5, "classifier-free guidance", minimum=0)
    seed: int = option(1, "of the first prompt; the others follow", minimum=0, maximum=2**32 - 1)
    fps: float = option(8.0, "of the GIFs", minimum=0.1, maximum=100)
    clips: int = option(0, "clips that are held out of training to compute a loss on; 0: no loss", minimum=0)
    timesteps: tuple[int, ...] = option(
        (100, 300, 500, 700, 900),
        "at which that loss is computed",
        kind=list,
        items=int,
        minimum=0,
        maximum=MAX_TIMESTEP,
    )


@section("checkpoint")
class Checkpoint(Checked):
    """States of the run, from which it goes on exactly."""

    every: int = option(500, "steps; 0: at the end only", minimum=0)
    keep: int = option(2, "states that stay, the newest ones", minimum=1)


@section("log")
class Log(Checked):
    """What is reported."""

    every: int = option(10, "steps between two entries of TensorBoard", minimum=1)
    tensorboard: bool = option(True, "write TensorBoard events, if the package is there")


@section("export")
class Export(Checked):
    """The files for the WebUI and other tools."""

    dtype: str = option("float16", "number format", choices=("float16", "bfloat16", "float32"))


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole run."""

    run: Run = field(default_factory=Run)
    base: Base = field(default_factory=Base)
    motion: Motion = field(default_factory=Motion)
    adapter: Adapter = field(default_factory=Adapter)
    lora: Lora = field(default_factory=Lora)
    data: tuple[Data, ...] = ()
    sample: Sample = field(default_factory=Sample)
    cache: Cache = field(default_factory=Cache)
    diffusion: Diffusion = field(default_factory=Diffusion)
    optim: Optim = field(default_factory=Optim)
    precision: Precision = field(default_factory=Precision)
    ema: Ema = field(default_factory=Ema)
    validate: Validate = field(default_factory=Validate)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    log: Log = field(default_factory=Log)
    export: Export = field(default_factory=Export)

    def __post_init__(self):
        first, last = self.diffusion.beta_start, self.diffusion.beta_end
        if self.diffusion.schedule != "auto" and not 0 < first <= last < 1:
            raise SettingsError(
                f"diffusion.beta_start is {first:g} and diffusion.beta_end is {last:g}, but betas grow, between 0 and "
                "1: give others, or schedule auto."
            )
        low, high = self.diffusion.timestep_min, self.diffusion.timestep_max
        if low > high:
            raise SettingsError(
                f"diffusion.timestep_min is {low}, above diffusion.timestep_max, which is {high}: exchange them."
            )
        if self.diffusion.min_snr and self.diffusion.weighting != "none":
            raise SettingsError(
                f"diffusion.min_snr is {self.diffusion.min_snr:g} and diffusion.weighting is "
                f"{self.diffusion.weighting}, but both are weights of timesteps: set one of them to its default."
            )
        if self.validate.clips and not self.validate.timesteps:
            raise SettingsError(
                "validate.timesteps is empty: give some, such as [100, 500, 900], or set validate.clips=0."
            )
        name = self.run.name
        if not re.fullmatch(r"[^/\\:*?\"<>|\x00-\x1f]+", name) or name.strip(". ") == "" or is_device(name):
            raise SettingsError(f"run.name is {name!r}: give a name for files, such as my-motion.")
        if self.cache.folder and not self.sample.starts:
            raise SettingsError(
                "cache.folder is set, but sample.starts is 0, so that hardly anything would be read twice: "
                "set sample.starts to the number of different first frames of each clip, such as 4."
            )
        for bucket in self.sample.buckets:
            parse_size(bucket, "sample.buckets")
        if self.validate.size:
            parse_size(self.validate.size, "validate.size")
        if not self.sample.buckets:
            raise SettingsError('sample.buckets is empty: give at least one size, such as ["256x256x16"].')


SECTIONS: dict[str, type] = {
    entry.name: Data if entry.name == "data" else entry.default_factory for entry in dataclasses.fields(Config)
}

_SMALLEST_SIDE = 64
"""Of pictures: an SD UNet halves its 1/8 latents three times."""


def parse_size(text: str, option: str = "sample.buckets") -> tuple[int, int, int]:
    """``256x384x16`` → width, height, frames. Raises `SettingsError` that names the option."""
    match = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})[x×](\d{1,4})", text.strip().lower())
    width, height, frames = map(int, match.groups()) if match else (0, 0, 0)
    if frames < 1 or width % _SMALLEST_SIDE or height % _SMALLEST_SIDE or not width or not height:
        raise SettingsError(
            f"{option} has {text!r}: give WIDTHxHEIGHTxFRAMES with sides that are multiples of {_SMALLEST_SIDE}."
        )
    return width, height, frames


def options(cls: type) -> dict[str, Any]:
    """Field → `Setting` of one section."""
    return {entry.name: entry.metadata["setting"] for entry in dataclasses.fields(cls)}
