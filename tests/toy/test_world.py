"""End to end on the shipped models: prompts in, clips out, and the clips are measured.

A few clips of fixed seeds, in half the steps, stand for the many of docs/claim.md, so thresholds leave room for that.
"""

from pathlib import Path

import numpy as np
import pytest

from animatediff_ext.__main__ import main
from animatediff_ext.animate import windows_of
from animatediff_ext.media import probe, read_frames
from animatediff_ext.params import Animation, Context, Motion, Noise
from animatediff_ext.toy.claim import all_cases, cases_without_colour, heading_accuracy, mean, still, through_vae, zoom
from animatediff_ext.toy.demo import MODELS, PROMPTS, demo
from animatediff_ext.toy.draw import LOOKS, draw
from animatediff_ext.toy.files import BASE, CHALK, DUSK, FIGURES, FILES, MOTION, SHIPPED, ZOOM
from animatediff_ext.toy.measures import ClipMeasures
from animatediff_ext.toy.report import number
from animatediff_ext.toy.scene import SPEED, random_scene
from animatediff_ext.toy.studio import CLIP, Studio
from tests.toy.figures import figures

ROOT = Path(__file__).parents[2]
FEW = 4
STEPS = 10

measured = pytest.mark.skipif(
    not (SHIPPED / FIGURES).is_file(), reason="the toy world has not been measured yet: toy measure"
)


@pytest.fixture(scope="module")
def studio():
    return Studio()


@pytest.fixture(scope="module")
def shown(studio, tmp_path_factory):
    """What the demo writes and says."""
    folder = tmp_path_factory.mktemp("demo")
    said = []
    right = demo(folder, studio, say=said.append)
    return folder, said, right


def clip(studio, model, prompt, seed, *, motion=MOTION, **how):
    return studio.clip(model, motion, prompt, seed, num_steps=STEPS, **how)


def clips(studio, model, cases, **how):
    return [clip(studio, model, one.prompt, one.seed, **how) for one in cases]


def test_the_toy_world_is_light_enough_to_ship():
    assert all((SHIPPED / name).is_file() for name in FILES)
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) < 30e6


def test_the_demo_writes_clips_that_play(shown):
    folder, _, _ = shown
    for model in MODELS:
        for prompt in PROMPTS:
            for ending in ("gif", "mp4"):
                clip = probe(folder / f"{model}-{prompt.replace(' ', '-')}.{ending}")
                assert (clip.num_frames, clip.width, clip.height) == (16, 256, 256)


def test_nearly_all_clips_of_the_demo_go_where_their_prompt_says(shown):
    folder, said, right = shown
    assert right >= len(MODELS) * len(PROMPTS) - 2
    assert f"{right} of 8 clips" in said[-1]
    assert (folder / "contact-sheet.png").is_file()


def test_a_clip_of_the_demo_is_smooth_in_its_file_too(shown):
    folder, _, _ = shown
    measures = ClipMeasures.of(
        [frame[2::4, 2::4] for frame in read_frames(folder / "base-a-red-circle-moving-right.gif")]
    )
    assert measures.heading == "right"
    assert measures.residual < 3
    assert {picture.colour for picture in measures.pictures} == {"red"}


@measured
@pytest.mark.parametrize("model", [BASE, DUSK])
def test_one_module_animates_the_base_and_a_checkpoint_it_never_saw(studio, model):
    key = {BASE: "base", DUSK: "dusk"}[model]
    cases = all_cases(FEW)
    made = clips(studio, model, cases)
    measures = [ClipMeasures.of(clip) for clip in made]
    # of these few, one more may fail than of many
    assert heading_accuracy(made, cases) >= figures()[f"heading_{key}"]["value"] / 100 - 1 / FEW
    assert mean(one.residual for one in measures) < 2 * figures()[f"residual_{key}"]["value"]
    assert mean(one.speed for one in measures) == pytest.approx(SPEED, rel=0.35)
    assert heading_accuracy([still(clip) for clip in made], cases) == 0
    if model == BASE:
        shapes = mean(one.share_of_shape(case.shape, "paper") for one, case in zip(measures, cases, strict=True))
        assert shapes > figures()["shape_base"]["value"] / 100 - 0.2
    if model == DUSK:
        assert mean(one.share_of_look("dusk") for one in measures) > figures()["style_dusk"]["value"] / 100 - 0.2


@pytest.mark.parametrize("look", LOOKS)
def test_drawings_keep_their_look_on_the_way_through_the_vae(studio, look):
    random = np.random.default_rng(7)
    drawn = [draw(random_scene(random, light=1), look) for _ in range(64)]
    assert ClipMeasures.of(through_vae(studio.image_model(BASE), drawn)).share_of_look(look) > 0.95


def test_without_the_module_frames_know_nothing_of_each_other(studio):
    cases = cases_without_colour(1)
    with_module = mean(ClipMeasures.of(clip).hue_spread for clip in clips(studio, BASE, cases))
    without = mean(ClipMeasures.of(clip).hue_spread for clip in clips(studio, BASE, cases, motion=None))
    assert with_module < without / 2


def test_the_motion_lora_zooms_in_and_out(studio):
    cases = all_cases(2)
    out, into = (zoom(clips(studio, BASE, cases, loras=[(ZOOM, strength)])) for strength in (-1.0, 1.0))
    assert out < 0.97
    assert into > 1.06


def test_a_look_as_a_lora_is_animated_too(studio):
    (clip,) = clips(studio, BASE, all_cases(1), loras=[(CHALK, 1.0)])
    measures = ClipMeasures.of(clip)
    assert measures.share_of_look("chalk") > figures()["style_chalk"]["value"] / 100 - 0.25
    assert measures.speed > 0.5 * SPEED


def test_a_prompt_that_travels_changes_the_colour_at_its_keys(studio):
    prompt = "0 step: a red circle moving right\n8: a blue circle moving right"
    colours = [picture.colour for picture in ClipMeasures.of(clip(studio, BASE, prompt, 11)).pictures]
    assert colours.count("red") >= 6
    assert colours.count("blue") >= 6
    assert set(colours[:6]) == {"red"}
    assert set(colours[-6:]) == {"blue"}


def seam(studio, way: str, overlap: int, num_frames: int) -> float:
    """How much more pictures change from frame to frame at the borders of contexts than inside them."""
    context = Context(length=16, overlap=overlap, closed_loop="N", schedule="static", long_clips=way)
    made = clip(studio, BASE, "a red circle", 5, animation=Animation(num_frames=num_frames, context=context))
    change = abs(np.diff(made.astype(float), axis=0)).mean(axis=(1, 2, 3))  # [i]: from frame i to i + 1
    starts = [frames[0] for frames, _ in windows_of(context, num_frames)][1:]
    ends = [start + overlap - 1 for start in starts if overlap]
    borders = {frame + side for frame in [*starts, *ends] for side in ((-1, 0) if overlap else (-1,))}
    at_borders = [value for frame, value in enumerate(change) if frame in borders]
    return np.mean(at_borders) / np.mean([value for frame, value in enumerate(change) if frame not in borders])


def test_a_long_clip_shows_no_seam(studio):
    """Between contexts that do not overlap pictures jump; windows and views are then the same."""
    jump = seam(studio, "windows", overlap=0, num_frames=32)
    for way in ("windows", "views"):
        assert seam(studio, way, overlap=8, num_frames=40) < 1.4 < 2.5 < jump


def test_more_effect_is_more_motion(studio):
    """With one noise for all frames, so that without motion they are one picture."""
    changes = []
    for effect in ("0", "0.5", "1"):
        animation = Animation(num_frames=16, motion=Motion(effect=effect), noise=Noise(kind="shared"))
        (made,) = clips(studio, BASE, all_cases(1), animation=animation)
        changes.append(abs(np.diff(made.astype(float), axis=0)).mean())
    assert changes[0] < 0.1
    assert changes[0] < changes[1] < changes[2]


def test_generate_makes_the_clip_that_the_studio_makes(studio, tmp_path):
    """The command line is the same engine: the file's frames are the studio's, enlarged by nobody."""
    prompt = "a red circle moving right"
    files = [f"--checkpoint={SHIPPED / BASE}", f"--motion-module={SHIPPED / MOTION}"]
    how = ["--size=64x64", f"--steps={STEPS}", "--cfg=3", "--seed=7", "--frames=16", "--format=png"]
    noise = [f"--set=noise_kind={CLIP.noise.kind}", f"--set=noise_share={CLIP.noise.share}"]
    assert main(["generate", *files, *how, *noise, f"--prompt={prompt}", f"--output={tmp_path}"]) == 0
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    frames = np.stack(list(read_frames(folder)))
    expected = clip(studio, BASE, prompt, 7)
    assert abs(frames.astype(int) - expected).max() <= 1


@measured
def test_the_documents_show_the_figures_that_were_measured():
    claim, readme = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/claim.md", "README.md"))
    for one in figures().values():
        assert f"| {one['what']} | **{number(one['value'], one['unit'])}** |" in claim
    rows = [line for line in readme.splitlines() if line.startswith("| ") and "**" in line]
    assert rows
    assert all(row in claim for row in rows)
