"""Measures say of drawn clips what was drawn, and of what must fail that it fails."""

import numpy as np
import pytest

from animatediff_ext.toy.claim import Case, heading_accuracy, shuffled_accuracy, still
from animatediff_ext.toy.clips import ZOOM, frames_of, with_defect, zoomed
from animatediff_ext.toy.draw import LOOKS, draw
from animatediff_ext.toy.measures import NOWHERE, ClipMeasures, Picture, diversity
from animatediff_ext.toy.scene import CLIP_FRAMES, COLOURS, HEADINGS, SHAPES, SPEED, Scene, random_scene

TRAVEL = SPEED * (CLIP_FRAMES - 1)


def drawn(seed: int, look: str = "paper", **known) -> tuple[Scene, np.ndarray]:
    scene = random_scene(np.random.default_rng(seed), travel=TRAVEL, **known)
    return scene, np.stack([draw(one, look) for one in frames_of(scene, CLIP_FRAMES)])


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("heading", HEADINGS)
def test_a_drawn_clip_goes_straight_where_it_was_drawn_to_go(look, heading):
    _, clip = drawn(1, look, heading=heading)
    measures = ClipMeasures.of(clip)
    assert measures.heading == heading
    assert measures.speed == pytest.approx(SPEED, rel=0.03)
    assert measures.residual < 0.6
    assert measures.zoom == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_drawn_clip_keeps_its_shape_colour_and_look(look, shape):
    scene, clip = drawn(2, look, shape=shape, light=1)
    measures = ClipMeasures.of(clip)
    assert measures.hue_spread < 2
    assert [picture.colour for picture in measures.pictures] == [scene.colour] * CLIP_FRAMES
    assert measures.same_shape(look) > 0.9
    assert measures.share_of_look(look) == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_on_paper_are_told_apart(shape):
    found = [Picture(clip[0]).shape("paper") for clip in (drawn(seed, shape=shape)[1] for seed in range(8))]
    assert found.count(shape) >= 7


def test_a_still_video_goes_nowhere():
    scene, clip = drawn(3)
    cases = [Case(prompt="", heading=scene.heading, seed=0)]
    assert ClipMeasures.of(still(clip)).heading == NOWHERE
    assert heading_accuracy([clip], cases) == 1
    assert heading_accuracy([still(clip)], cases) == 0


def test_shuffled_captions_give_chance():
    pairs = [drawn(seed, heading=heading) for seed, heading in enumerate(HEADINGS)]
    cases = [Case(prompt="", heading=scene.heading, seed=0) for scene, _ in pairs]
    assert shuffled_accuracy([clip for _, clip in pairs], cases) == 0.25


def test_frames_that_know_nothing_of_each_other_are_on_no_path():
    """As without a motion module: every frame another scene."""
    clip = np.stack([drawn(seed)[1][0] for seed in range(CLIP_FRAMES)])
    measures = ClipMeasures.of(clip)
    assert measures.residual > 5
    assert measures.hue_spread > 40
    assert measures.same_shape("paper") < 0.8


def test_an_empty_picture_fails_and_breaks_nothing():
    measures = ClipMeasures.of(np.full((CLIP_FRAMES, 64, 64, 3), 240, np.uint8))
    assert measures.heading == NOWHERE
    assert measures.residual == float("inf")
    assert measures.hue_spread == float("inf")
    assert measures.same_shape("paper") == 0
    assert measures.share_of_look("paper") == 0


def test_a_clip_that_loses_its_shape_fails_as_a_whole():
    _, clip = drawn(4)
    clip[7:9] = clip[0, 0, 0]
    measures = ClipMeasures.of(clip)
    assert measures.heading == NOWHERE
    assert measures.residual == measures.hue_spread == float("inf")
    assert np.isnan(measures.zoom)
    assert [picture.colour for picture in measures.pictures].count("") == 2


def test_a_look_is_more_than_its_ground():
    scene, _ = drawn(5)
    pasted = draw(scene, "paper").copy()
    pasted[~Picture(pasted).mask] = draw(scene, "dusk")[0, 0]
    assert Picture(draw(scene, "dusk")).look == "dusk"
    assert Picture(pasted).look != "dusk"


def test_the_hue_is_a_circle():
    _, clip = drawn(5, colour="red")
    reds = [Picture(frame).hue for frame in clip]
    assert all(hue < 20 or hue > 340 for hue in reds)
    assert ClipMeasures.of(clip).hue_spread < 2


@pytest.mark.parametrize("colour", COLOURS)
def test_colours_are_known_in_their_video_as_well(colour):
    _, clip = drawn(6, colour=colour)
    assert Picture(with_defect(clip[0])).colour == colour


@pytest.mark.parametrize("factor", [1 / ZOOM, 1, ZOOM])
def test_a_drawn_zoom_is_measured(factor):
    scene = Scene(colour="blue", shape="circle", heading="left", x=32, y=32, radius=11)
    steps = np.geomspace(factor**-0.5, factor**0.5, CLIP_FRAMES)
    clip = [draw(zoomed(scene, step)) for step in steps]
    assert ClipMeasures.of(clip).zoom == pytest.approx(factor, rel=0.03)


def test_one_clip_again_and_again_has_no_diversity():
    clips = [drawn(seed)[1] for seed in range(3)]
    assert diversity([clips[0]] * 3) == 0
    assert diversity(clips) > 10
