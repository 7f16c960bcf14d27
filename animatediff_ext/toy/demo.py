"""``python -m animatediff_ext demo``: the toy world at work, and what it does, measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from animatediff_ext.params import Animation, Output
from animatediff_ext.save import save_animation
from animatediff_ext.toy.files import BASE, DUSK, MOTION
from animatediff_ext.toy.measures import NOWHERE, ClipMeasures
from animatediff_ext.toy.report import enlarged, strips
from animatediff_ext.toy.studio import Studio
from animatediff_ext.whole_file import whole_file

PROMPTS = (
    "a red circle moving right",
    "a green square moving down",
    "a blue triangle moving left",
    "a pink cross moving up",
)
MODELS = {"base": BASE, "dusk": DUSK}
SEED = 7
SCALE = 4
"""The clips are 64 pixels wide; files show every pixel as a square of so many."""
SETTINGS = Animation(output=Output(fps=8, formats=("GIF", "MP4")))


def demo(output: Path, studio: Studio, say: Callable[[str], None] = print) -> int:
    """Animate `PROMPTS` on the base and on a checkpoint that the module has never seen; returns how many clips went
    where they were told to."""
    right, clips = 0, []
    for model, file in MODELS.items():
        say(f"{model} ({file}) with {MOTION}:")
        for prompt in PROMPTS:
            clip = studio.clip(file, MOTION, prompt, SEED)
            clips.append(clip)
            measures = ClipMeasures.of(clip)
            told = prompt.split()[-1]
            right += measures.heading == told
            frames = [Image.fromarray(frame) for frame in enlarged(clip, SCALE)]
            stem = output / f"{model}-{prompt.replace(' ', '-')}"
            files = save_animation(frames, stem, SETTINGS, comment=f"{prompt}\nModel: {file}, {MOTION}, seed {SEED}")
            goes = "stays" if measures.heading == NOWHERE else f"moves {measures.heading}"
            straight = f"{measures.residual:.1f} px off a straight path"
            hue = f"hue within {measures.hue_spread:.0f}°"
            say(f"  {prompt}: {goes} at {measures.speed:.1f} px a frame, {straight}, {hue}")
            for path in files.values():
                say(f"    {path}")
    sheet = output / "contact-sheet.png"
    with whole_file(sheet) as part:
        strips(clips, scale=2).save(part, format="PNG")
    say(f"{right} of {len(clips)} clips move where their prompt says. All of them: {sheet}")
    return right
