"""Training of random models: speed and memory by setting, what the loop adds to bare passes, waiting for data.

    python -m bench.train [--only settings loop data] [--rounds 15] [--threads 1]
    python -m bench.train --sd15 [--size 128x128x8] [--threads 2]

The loop and the bare forward and backward pass take turns on the same batch. Every setting has a process of its own, so
that peaks do not mix; memory is what the steps hold at most, less what the process had before there was a model, and
is set against `animatediff_ext.trainer.memory.estimate`. On a CPU it is resident memory. ``--sd15`` measures settings
of a model with SD 1.5's sizes, which takes 12 GB and some ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizerFast
from transformers.models.clip.tokenization_clip import bytes_to_unicode

from animatediff_ext.formats import save_motion_module
from animatediff_ext.media import WRITERS
from animatediff_ext.motion import MotionModel
from animatediff_ext.standalone.spatial import SpatialModel
from animatediff_ext.standalone.tokenizer import SPECIAL_TOKENS
from animatediff_ext.trainer.base import amp_dtype
from animatediff_ext.trainer.config import Config
from animatediff_ext.trainer.config_file import read_config
from animatediff_ext.trainer.data.cache import TensorCache
from animatediff_ext.trainer.data.clip import Clip
from animatediff_ext.trainer.data.dataset import Example
from animatediff_ext.trainer.data.take import Bucket, Take, buckets_of
from animatediff_ext.trainer.encode import Batch, Encoder
from animatediff_ext.trainer.loop import Trainer
from animatediff_ext.trainer.material import Material, gather
from animatediff_ext.trainer.memory import estimate
from animatediff_ext.trainer.noising import loss_per_clip
from animatediff_ext.trainer.processes import Processes
from animatediff_ext.trainer.progress import Clock
from animatediff_ext.trainer.stages import STAGES, new_motion_config

T = TypeVar("T")

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CAPTION = "a square that moves"


# ---- models and runs ----


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Widths of SD 1.5's layout."""

    unet: tuple[int, ...] = (320, 640, 1280, 1280)
    vae: tuple[int, ...] = (128, 256, 512, 512)
    text: int = 768
    text_layers: int = 12
    rank: int = 64
    """Of LoRAs."""


SD15 = Sizes()
TINY = Sizes(unet=(32, 64, 64, 64), vae=(32, 32, 64, 64), text=64, text_layers=3, rank=4)


def random_model(sizes: Sizes) -> SpatialModel:
    torch.manual_seed(0)
    text = CLIPTextConfig(
        hidden_size=sizes.text,
        intermediate_size=4 * sizes.text,
        num_hidden_layers=sizes.text_layers,
        num_attention_heads=sizes.text // 64,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=sizes.vae,
        layers_per_block=2,
        latent_channels=4,
    )
    return SpatialModel(
        unet=UNet2DConditionModel(block_out_channels=sizes.unet, cross_attention_dim=sizes.text, attention_head_dim=8),
        vae=vae,
        text_encoders=[CLIPTextModel(text)],
        tokenizer=tokenizer(),
        base="SD 1.5",
        prediction="epsilon",
        path=Path("random"),
    )


def tokenizer() -> CLIPTokenizerFast:
    """CLIP's, without a single merge: every letter is a token."""
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *SPECIAL_TOKENS]
    with TemporaryDirectory() as folder:
        vocabulary, merges = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        vocabulary.write_text(json.dumps({word: number for number, word in enumerate(words)}))
        merges.write_text("#version: 0.2\n")
        return CLIPTokenizerFast(vocab_file=str(vocabulary), merges_file=str(merges))


def write_motion_module(sizes: Sizes, path: Path) -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(block_out_channels=sizes.unet, attention_head_dim=8)
    save_motion_module(MotionModel(new_motion_config(unet, "v3")), path, dtype=torch.float32)


def config_of(stage: str, **options) -> Config:
    """In names, two underscores stand for the point."""
    return read_config(stage, None, [f"{name.replace('__', '.')}={value}" for name, value in options.items()])


def random_trainer(stage: str, config: Config, sizes: Sizes, cache: TensorCache) -> Trainer:
    dtype = amp_dtype(config.precision, DEVICE)
    spatial = random_model(sizes).to(DEVICE)
    spatial.unet.to(dtype)
    encoder = Encoder(spatial, cache, config)
    return Trainer(config, STAGES[stage](spatial, config), encoder, Processes(device=DEVICE), dtype)


def seconds(run: Callable[[], T]) -> tuple[float, T]:
    synchronise()
    begin = time.perf_counter()
    result = run()
    synchronise()
    return time.perf_counter() - begin, result


def synchronise() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


# ---- settings: clips per second, memory, and its estimate ----


@dataclass(frozen=True, kw_only=True)
class Setting:
    stage: str = "motion"
    amp: str = "fp32"
    checkpointing: bool = False
    batch: int = 1

    def __str__(self) -> str:
        checkpointing = "checkpointing" if self.checkpointing else "-"
        return f"{self.stage:<8} {self.amp}  {checkpointing:<13}  batch {self.batch}"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Memory in bytes."""

    clips_per_s: float
    peak: int
    resident: int
    """The peak of a process that does not give every block back at once: with the gaps that malloc leaves."""
    estimated: int
    activations: int
    """Of the estimate."""
    estimate_s: float


SETTINGS = (
    Setting(),
    Setting(checkpointing=True),
    Setting(batch=4),
    Setting(batch=4, checkpointing=True),
    Setting(amp="bf16"),
    Setting(amp="bf16", checkpointing=True),
    Setting(stage="lora"),
    Setting(stage="lora", checkpointing=True),
    Setting(stage="lora", amp="bf16", checkpointing=True),
    Setting(stage="adapter", batch=8),
    Setting(stage="adapter", batch=8, checkpointing=True),
)
SD15_SETTINGS = (
    Setting(),
    Setting(checkpointing=True),
    Setting(amp="bf16", checkpointing=True),
    Setting(stage="lora", checkpointing=True),
    Setting(stage="adapter", batch=4),
)


def compare_settings(settings: tuple[Setting, ...], sizes: Sizes, size: str, threads: int, folder: Path) -> None:
    print(f"\nSettings, {size} (adapter: stills of it); memory in MiB")
    print(f"{'':42}clips/s  with gaps      peak  estimate         (activations, made in)")
    init = folder / "motion.safetensors"
    alone(write_motion_module, sizes, init)
    for setting in settings:
        found = alone(measured, setting, sizes, size, threads, init)
        gaps, peak, needed, part = (
            f"{n / 2**20:9,.0f}" for n in (found.resident, found.peak, found.estimated, found.activations)
        )
        print(
            f"{setting!s:40} {found.clips_per_s:8.3f}  {gaps} {peak} {needed} ({found.estimated / found.peak:.2f}x) "
            f"({part.strip()}, {found.estimate_s:.1f} s)",
            flush=True,
        )


def alone(run: Callable[..., T], *args) -> T:
    """In a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(run, *args).result()


def measured(setting: Setting, sizes: Sizes, size: str, threads: int, init: Path) -> Measured:
    """Encode a batch; then two steps for the memory, and as many as fit into some seconds for the time."""
    torch.set_num_threads(threads)
    malloc_keeps(False)
    trainer, examples = trainer_of(Setting(amp=setting.amp), TINY, "64x64x2", init)
    trainer.train_step([examples])  # what this loads and compiles is no memory of the model
    del trainer, examples
    before = memory("VmRSS")
    trainer, examples = trainer_of(setting, sizes, size, init)
    steps = [seconds(partial(trainer.train_step, [examples]))[0] for _ in range(2)]
    peak = memory("VmHWM") - before
    malloc_keeps(True)
    steps.clear()
    while sum(steps) < 5:
        steps.append(seconds(partial(trainer.train_step, [examples]))[0])
    resident = memory("VmHWM") - before
    estimate_s, needed = seconds(partial(estimate, trainer))
    return Measured(
        clips_per_s=setting.batch / statistics.median(steps),
        peak=peak,
        resident=resident,
        estimated=needed.total,
        activations=needed.activations,
        estimate_s=estimate_s,
    )


def trainer_of(setting: Setting, sizes: Sizes, size: str, init: Path) -> tuple[Trainer, list[Example]]:
    """With a batch that has just been encoded, whose memory belongs to the step's."""
    config = config_of(
        setting.stage,
        sample__buckets=json.dumps([size]),
        sample__batch=setting.batch,
        precision__amp=setting.amp,
        precision__gradient_checkpointing=json.dumps(setting.checkpointing),
        motion__init=init if setting.stage == "lora" else "",
        lora__rank=sizes.rank,
    )
    trainer = random_trainer(setting.stage, config, sizes, TensorCache("", "float16"))
    forget_peak()  # of making the model
    (bucket,) = buckets_of(config.sample, stills=setting.stage == "adapter")
    return trainer, [encoded_example(trainer.stage.spatial, bucket, number) for number in range(setting.batch)]


def encoded_example(spatial: SpatialModel, bucket: Bucket, index: int) -> Example:
    pixels = torch.rand(bucket.num_frames, 3, bucket.height, bucket.width, device=DEVICE) * 2 - 1
    mean, std = spatial.encode_frames(pixels)
    clip = Clip(name="noise", path="", caption=CAPTION)
    take = Take(clip=clip, bucket=bucket, frames=tuple(range(bucket.num_frames)), flip=False, index=index)
    return Example(take=take, caption=CAPTION, pixels=None, latents={"mean": mean, "std": std}, bad=())


def memory(which: str) -> int:
    """Bytes in use now (VmRSS), or at most since `forget_peak` (VmHWM): of the GPU, or resident (Linux only)."""
    if DEVICE.type == "cuda":
        return {"VmRSS": torch.cuda.memory_allocated, "VmHWM": torch.cuda.max_memory_allocated}[which]()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{which}:"))


def forget_peak() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5)


def malloc_keeps(keeps: bool) -> None:
    """Whether glibc may keep what is freed: as it does by itself after a while, or no block of 64 KiB or more."""
    if DEVICE.type == "cpu":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 2**25 if keeps else 2**16)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**26 if keeps else 2**16)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


# ---- the loop against bare passes, and waiting for data ----

LOOP_SIZES = ("64x64x8", "128x128x16")
"""The shorter a step, the more what is around it counts."""


def drawn_run(size: str, folder: Path, *, num_steps: int, workers: int) -> tuple[Trainer, Material]:
    """A run of the stage motion on drawn clips, with all that it reads in the cache."""
    clips = folder / "clips"
    if not clips.exists():
        write_clips(clips)
    config = config_of(
        "motion",
        run__output=folder / "run",
        run__steps=num_steps,
        data__path=clips,
        cache__folder=folder / "cache",
        sample__buckets=json.dumps([size]),
        sample__starts=2,
        sample__workers=workers,
        precision__gradient_checkpointing="false",
    )
    material = gather(config, 1, stills=False)
    trainer = random_trainer("motion", config, TINY, material.cache)
    for parts in steps_of(trainer, material):
        trainer.encoder.batch(parts[0])
    return trainer, material


def write_clips(folder: Path, num_clips: int = 6, num_frames: int = 70, side: int = 256) -> None:
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(num_clips):
        blocks = random.integers(0, 256, (side // 16, side // 16, 3), dtype=np.uint8)
        picture = blocks.repeat(16, axis=0).repeat(16, axis=1)
        frames = (np.roll(picture, 2 * frame, axis=1) for frame in range(num_frames))
        WRITERS["MP4"](frames, folder / f"{number}.mp4", fps=8)
        (folder / f"{number}.txt").write_text(f"{CAPTION}, number {number}")


def steps_of(trainer: Trainer, material: Material) -> Iterator[list[list[Example]]]:
    return material.steps(trainer.config, trainer.group, trainer.stage.spatial.vae_fingerprint, 0)


def compare_loop(size: str, rounds: int, folder: Path) -> None:
    """`Trainer.train_step` and a bare pass take turns, the first of them by turns."""
    warm_up = 2
    trainer, material = drawn_run(size, folder, num_steps=rounds + warm_up, workers=0)
    times: dict[str, list[float]] = {}
    with closing(trainer):
        steps = steps_of(trainer, material)
        for number in range(rounds + warm_up):
            found, examples = reading(trainer, steps)
            batch = trainer.encoder.batch(examples)
            turns = [partial(bare_step, trainer, batch), partial(loop_step, trainer, examples)]
            for turn in turns if number % 2 else turns[::-1]:
                found |= turn()
            if number >= warm_up:
                for name, value in found.items():
                    times.setdefault(name, []).append(value)
    bare, loop = times["bare forward and backward"], times["train_step"]
    read, optimizer = times["read the clip"], times["optimizer step"]
    print(f"\nThe loop against bare passes, {size}, batch 1, medians of {rounds} rounds")
    for name, values in times.items():
        print(f"  {name:<28} {statistics.median(values) * 1000:8.2f} ms")
    with_optimizer = [a + b for a, b in zip(bare, optimizer, strict=True)]
    print(f"  train_step : bare passes                         {ratio(loop, bare):.3f}")
    print(f"  train_step : bare passes and optimizer           {ratio(loop, with_optimizer):.3f}")
    whole = [a + b for a, b in zip(loop, read, strict=True)]
    print(f"  train_step and reading : passes and optimizer    {ratio(whole, with_optimizer):.3f}", flush=True)


def ratio(values: list[float], others: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(values, others, strict=True))


def reading(trainer: Trainer, steps: Iterator[list[list[Example]]]) -> tuple[dict[str, float], list[Example]]:
    read, (examples,) = seconds(partial(next, steps))
    encode, batch = seconds(partial(trainer.encoder.batch, examples))
    noise, _ = seconds(partial(noised, trainer, batch))
    return {"read the clip": read, "  batch of latents and text": encode, "  noise and target": noise}, examples


def noised(trainer: Trainer, batch: Batch) -> tuple[torch.Tensor, ...]:
    """As `Trainer.loss` does it: x and its target, timesteps and their weights."""
    x0, noising = batch.latents, trainer.noising
    timesteps = torch.tensor([noising.timestep(*key) for key in batch.keys])
    noise = torch.stack([noising.noise(x0.shape[1:], *key) for key in batch.keys]).to(DEVICE)
    weights = noising.weights(timesteps).to(DEVICE)
    return noising.noised(x0, noise, timesteps), noising.target(x0, noise, timesteps), timesteps.to(DEVICE), weights


def bare_step(trainer: Trainer, batch: Batch) -> dict[str, float]:
    """What any training of this model has to do, with everything ready."""
    trainer.attach(batch.num_frames)
    x, target, timesteps, weights = noised(trainer, batch)

    def passes() -> None:
        with trainer.autocast():
            prediction = trainer.predict(x, timesteps, batch.conditioning)
        (weights * loss_per_clip(prediction, target)).mean().backward()

    def update() -> None:
        trainer.optimizer.step()
        trainer.optimizer.zero_grad(set_to_none=True)

    return {
        "bare forward and backward": seconds(passes)[0],
        "clipping of the gradient": seconds(partial(nn.utils.clip_grad_norm_, trainer.parameters, 1.0))[0],
        "optimizer step": seconds(update)[0],
    }


def loop_step(trainer: Trainer, examples: list[Example]) -> dict[str, float]:
    return {"train_step": seconds(partial(trainer.train_step, [examples]))[0]}


def watch_waiting(size: str, num_steps: int, folder: Path) -> None:
    print(f"\nWaiting for data, {size}, batch 1, {num_steps} steps from a full cache")
    for workers in (0, 2):
        trainer, material = drawn_run(size, folder, num_steps=num_steps + 1, workers=workers)
        with closing(trainer):
            steps = steps_of(trainer, material)
            first, parts = seconds(partial(next, steps))
            trainer.train_step(parts)
            clock = Clock()
            for _ in range(num_steps):
                with clock.waiting():
                    parts = next(steps)
                trainer.train_step(parts)
            taken, share = clock.lap()
        print(
            f"  {workers} workers: {share:6.2%} of {taken / num_steps * 1000:.0f} ms a step, and {first:.2f} s for the "
            "first batch",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=("settings", "loop", "data"), default=("settings", "loop", "data"))
    parser.add_argument("--sd15", action="store_true", help="the settings only, of a model with SD 1.5's sizes")
    parser.add_argument("--size", help="WIDTHxHEIGHTxFRAMES of the settings; 128x128x16, and 128x128x8 of SD 1.5")
    parser.add_argument("--rounds", type=int, default=15, help="of the loop; twice as many steps wait for data")
    parser.add_argument("--threads", type=int, help="of PyTorch; 1, and 2 for SD 1.5")
    args = parser.parse_args()
    size, threads = args.size or ("128x128x8" if args.sd15 else "128x128x16"), args.threads or 1 + args.sd15
    torch.set_num_threads(threads)
    print(f"{DEVICE.type}, PyTorch {torch.__version__}, {threads} threads")
    with TemporaryDirectory() as name:
        folder = Path(name)
        if args.sd15 or "settings" in args.only:
            settings, sizes = (SD15_SETTINGS, SD15) if args.sd15 else (SETTINGS, TINY)
            compare_settings(settings, sizes, size, threads, folder)
        if not args.sd15 and "loop" in args.only:
            for each in LOOP_SIZES:
                compare_loop(each, args.rounds, folder)
        if not args.sd15 and "data" in args.only:
            watch_waiting(LOOP_SIZES[0], 2 * args.rounds, folder)


if __name__ == "__main__":
    main()
