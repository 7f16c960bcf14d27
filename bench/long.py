"""Long clips in windows and in views: time per frame and peak memory by length, in one run.

    python -m bench.long [--frames 16 64 192] [--side 16] [--width 64] [--rounds 5] [--threads 1]

A step of a random UNet of SD 1.5's layout, `--width` channels at its first level and latents of `--side`, with motion
modules and contexts of 16 frames that share 4. Lengths and ways take turns, round by round; printed is the median time
per frame, and the median over the rounds of its ratio to the shortest. Windows may cost L / (L - o) = 1.33.
Memory is what a step holds at most beside the model and its input, of a process of its own: on a CPU resident memory.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

from animatediff_ext.animate import Session
from animatediff_ext.motion import MotionModel
from animatediff_ext.params import Animation, Context
from animatediff_ext.trainer.stages import new_motion_config

WAYS = ("windows", "views")
LENGTH, OVERLAP = 16, 4
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Case:
    way: str
    num_frames: int
    side: int
    width: int
    threads: int


class Step:
    """One evaluation of the model for a whole clip."""

    def __init__(self, case: Case, unet: UNet2DConditionModel, motion: MotionModel):
        context = Context(length=LENGTH, overlap=OVERLAP, closed_loop="N", schedule="static", long_clips=case.way)
        self._animation = Animation(num_frames=case.num_frames, context=context)
        self._unet, self._motion = unet, motion
        self._x = torch.randn(case.num_frames, 4, case.side, case.side, device=DEVICE)
        self._call = {
            "timestep": torch.full((case.num_frames,), 500, device=DEVICE),
            "encoder_hidden_states": torch.randn(case.num_frames, 77, 64, device=DEVICE),
        }

    @torch.inference_mode()
    def __call__(self) -> None:
        with Session(self._animation, self._motion) as session:
            session.attach(self._unet, device=DEVICE, dtype=torch.float32)
            side = self._x.shape[-1]
            session.at_step(0, 1, num_rows=self._animation.num_frames, height=side, width=side)
            self._unet(self._x, **self._call)
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()


def models(width: int) -> tuple[UNet2DConditionModel, MotionModel]:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=(width, 2 * width, 4 * width, 4 * width),
        layers_per_block=2,
        cross_attention_dim=64,
        attention_head_dim=8,
    )
    motion = MotionModel(new_motion_config(unet, "v3"))
    return unet.to(DEVICE).eval(), motion.eval().requires_grad_(False)


def seconds(step: Step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def peak_of(case: Case) -> int:
    """Bytes above what there was before the step."""
    torch.set_num_threads(case.threads)
    step = Step(case, *models(case.width))
    if DEVICE.type == "cuda":
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    ctypes.CDLL(None).mallopt(-3, 2**16)  # M_MMAP_THRESHOLD: what is freed goes back at once
    Step(Case(case.way, 1, case.side, case.width, case.threads), step._unet, step._motion)()  # libraries' own buffers
    before, peak, done = resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.001):
            peak = max(peak, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    step()
    done.set()
    watcher.join()
    return peak - before


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[16, 64, 192])
    parser.add_argument("--side", type=int, default=16, help="of the latents")
    parser.add_argument("--width", type=int, default=64, help="channels of the first level")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    unet, motion = models(args.width)
    cases = [Case(way, n, args.side, args.width, args.threads) for way in WAYS for n in args.frames]
    steps = {case: Step(case, unet, motion) for case in cases}
    for step in steps.values():
        step()
    times: dict[Case, list[float]] = {case: [] for case in cases}
    for _ in range(args.rounds):
        for case, step in steps.items():
            times[case].append(seconds(step) / case.num_frames)
    print(f"{DEVICE}, {args.width} channels, latents of {args.side}x{args.side}, {args.threads} threads")
    for case in cases:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            peak = pool.submit(peak_of, case).result()
        shortest = times[Case(case.way, args.frames[0], *(args.side, args.width, args.threads))]
        ratio = statistics.median(a / b for a, b in zip(times[case], shortest, strict=True))
        per_frame = statistics.median(times[case]) * 1000
        figures = f"{per_frame:8.1f} ms a frame  {ratio:5.2f}x  {peak / 2**20:8.1f} MiB"
        print(f"{case.way:8} {case.num_frames:4} frames  {figures}")


if __name__ == "__main__":
    main()
