"""Figures and clips → ``docs/claim.md`` with its pictures, and the figures as JSON for the tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from animatediff_ext.media import WRITERS
from animatediff_ext.toy.claim import Claim, Figure
from animatediff_ext.toy.files import FIGURES
from animatediff_ext.toy.studio import FRAME_NOISE
from animatediff_ext.whole_file import whole_file

SHOWN_FRAMES = (0, 3, 6, 9, 12, 15)
WALL_COLUMNS, WALL_FPS, WALL_SCALE = 6, 8, 2


def write_report(claim: Claim, figures: Sequence[Figure], folder: Path, document: Path) -> None:
    """Write the figures into ``folder``, and ``document`` with its pictures beside it in a folder of the same stem."""
    with whole_file(folder / FIGURES) as part:
        part.write_text(json.dumps({one.key: asdict(one) for one in figures}, indent=2) + "\n", encoding="utf-8")
    pictures = document.with_suffix("")
    for name, clips in (("base", claim.base), ("dusk", claim.dusk), ("chalk", claim.chalk)):
        WRITERS["WEBP"](wall(clips[: 2 * WALL_COLUMNS]), pictures / f"{name}.webp", fps=WALL_FPS)
    with_and_without = [claim.no_colour[0], claim.no_colour_stills[0]]
    with whole_file(pictures / "with_and_without.png") as part:
        strips(with_and_without).save(part, format="PNG")
    with whole_file(document) as part:
        part.write_text(_text(figures, pictures.name), encoding="utf-8")


def wall(clips: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Frames that show all clips at once, enlarged."""
    rows = [np.concatenate(clips[i : i + WALL_COLUMNS], axis=2) for i in range(0, len(clips), WALL_COLUMNS)]
    frames = np.concatenate(rows, axis=1)
    return list(enlarged(frames, WALL_SCALE))


def strips(clips: Sequence[np.ndarray], frames: Sequence[int] = SHOWN_FRAMES, scale: int = 2) -> Image.Image:
    """A row of frames for each clip."""
    rows = [np.concatenate([clip[i] for i in frames], axis=1) for clip in clips]
    return Image.fromarray(enlarged(np.concatenate(rows, axis=0)[None], scale)[0])


def enlarged(frames: np.ndarray, scale: int) -> np.ndarray:
    """Every pixel as a square: ``(f h w 3)`` → ``(f scale·h scale·w 3)``."""
    return frames.repeat(scale, axis=1).repeat(scale, axis=2)


def table(figures: Sequence[Figure]) -> list[str]:
    lines = [
        "| measure | reached | target | drawn clips | control (should fail) |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in figures:
        drawn = "" if one.drawn is None else number(one.drawn, one.unit)
        control = "" if one.control is None else f"{number(one.control, one.unit)}, {one.control_is}"
        missed = "" if one.met else " (missed)"
        lines.append(f"| {one.what} | **{number(one.value, one.unit)}** | {one.target}{missed} | {drawn} | {control} |")
    return lines


def number(value: float, unit: str) -> str:
    digits = 0 if unit == "%" else 1 if abs(value) >= 10 else 2
    return f"{round(value, digits) + 0.0:.{digits}f}{unit}"  # there is no -0


def _text(figures: Sequence[Figure], pictures: str) -> str:
    return _PAGE.format(table="\n".join(table(figures)), pictures=pictures, common=FRAME_NOISE)


_PAGE = """\
# The claim, measured

AnimateDiff claims that one motion module, trained once on one image model, animates personalised models that it has
never seen. This page measures it, in a world that is small enough to be trained on two CPU cores, and in which all that
matters can be read off the pixels. `python -m animatediff_ext toy measure` makes the page anew.

The world: shapes of six colours on paper, which look where they go. The base model was trained on pictures of them;
*dusk* is the base, fine-tuned as a whole on another look; *chalk* is a LoRA for a third look. The motion module was
trained on clips in the look of the base alone, pale and watermarked as stock videos are, with the adapter in place that
learnt this defect from single frames. The frames of a clip have {common:.0%} of their noise in common, in training and
here, with the module and without it.

{table}

*Drawn clips* are the same measures on clips that were drawn and went through the VAE: no model does better.

The base model, and then *dusk* and *chalk*, with the same motion module; every clip has another prompt.

![clips of the base model]({pictures}/base.webp)

![clips of dusk]({pictures}/dusk.webp)

![clips of chalk]({pictures}/chalk.webp)

One prompt that leaves the colour open, from the same noise: with the module above, without it below.

![frames with and without the module]({pictures}/with_and_without.png)
"""
