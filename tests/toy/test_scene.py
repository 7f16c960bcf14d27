"""Scenes, their words, and how they are drawn."""

import numpy as np
import pytest

from animatediff_ext.toy.clips import ZOOM, frames_of, some_caption, with_defect, zoomed
from animatediff_ext.toy.draw import LOOKS, draw
from animatediff_ext.toy.measures import Picture
from animatediff_ext.toy.scene import CLIP_FRAMES, COLOURS, HEADINGS, SHAPES, SIDE, SPEED, Scene, random_scene
from animatediff_ext.toy.words import WORDS, write_tokenizer

TRAVEL = SPEED * (CLIP_FRAMES - 1)


def scene(**changed) -> Scene:
    return Scene(**{"colour": "red", "shape": "circle", "heading": "left", "x": 32, "y": 30, "radius": 11} | changed)


@pytest.mark.parametrize("seed", range(50))
def test_a_shape_stays_in_the_picture_as_long_as_it_travels(seed):
    first = random_scene(np.random.default_rng(seed), travel=TRAVEL)
    for one in frames_of(first, CLIP_FRAMES):
        assert one.radius <= one.x <= SIDE - one.radius
        assert one.radius <= one.y <= SIDE - one.radius


def test_what_is_known_of_a_scene_is_kept():
    known = {"colour": "cyan", "shape": "cross", "heading": "up"}
    one = random_scene(np.random.default_rng(0), **known)
    assert {name: getattr(one, name) for name in known} == known


def test_captions_say_what_they_are_asked_to():
    assert scene().caption() == "a red circle moving left"
    assert scene().caption(colour=False) == "a circle moving left"
    assert scene().caption(shape=False, heading=False) == "a red shape"


def test_captions_are_sometimes_silent_on_everything():
    random = np.random.default_rng(0)
    said = {some_caption(random, scene()) for _ in range(200)}
    assert {"a red circle moving left", "a circle moving left", "a red shape moving left", "a red circle"} <= said


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("heading", HEADINGS)
def test_the_head_is_bright_and_the_tail_dim(look, shape, heading):
    one = scene(shape=shape, heading=heading)
    picture = draw(one, look)
    mask = Picture(picture).mask
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    dx, dy = HEADINGS[heading]
    ahead = ((x - one.x) * dx + (y - one.y) * dy) / one.radius
    light = picture.astype(float).max(axis=-1)
    assert light[mask & (ahead > 0.2)].mean() > light[mask & (ahead < -0.2)].mean() + 10


def test_half_a_pixel_can_be_seen():
    """Edges are smooth: a shape moved by half a pixel is another picture, half-way to one moved by a whole one."""
    still, half, whole = (draw(scene(x=32 + step)).astype(float) for step in (0, 0.5, 1))
    assert abs(half - still).mean() == pytest.approx(abs(whole - half).mean(), rel=0.3)
    assert abs(half - still).mean() > 0.1


def test_a_scene_goes_where_it_looks():
    *_, last = frames_of(scene(heading="down"), 5, speed=2)
    assert (last.x, last.y) == (32, 38)


def test_a_zoom_leaves_the_middle_where_it_is():
    one = zoomed(scene(x=SIDE / 2, y=SIDE / 2), ZOOM)
    assert (one.x, one.y, one.radius) == (SIDE / 2, SIDE / 2, 11 * ZOOM)
    assert zoomed(scene(x=42), ZOOM).x == 32 + 10 * ZOOM


def test_videos_are_pale_and_have_a_watermark():
    picture = draw(scene())
    video = with_defect(picture)
    red = picture[30, 32].astype(int), video[30, 32].astype(int)
    assert np.ptp(red[1]) < 0.7 * np.ptp(red[0])
    assert Picture(picture).watermark == pytest.approx(0, abs=0.02)
    assert Picture(video).watermark == pytest.approx(1, abs=0.02)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("words") / "clip")


def test_every_word_of_a_caption_is_one_token(tokenizer):
    for colour in COLOURS:
        for shape in SHAPES:
            caption = scene(colour=colour, shape=shape).caption()
            assert len(tokenizer(caption).input_ids) == 2 + len(caption.split())  # and one for each end
    assert len({tokenizer(word).input_ids[1] for word in WORDS}) == len(WORDS)


def test_other_text_can_be_tokenized_too(tokenizer):
    assert tokenizer.decode(tokenizer("a cat, redder").input_ids, skip_special_tokens=True).strip() == "a cat , redder"
