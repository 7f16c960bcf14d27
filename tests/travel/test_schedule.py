"""What every frame is told follows the formula, exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animatediff_ext.travel import EASINGS, parse_travel


def shares(prompt, text, num_frames, **options):
    """What ``text`` counts in each frame."""
    travel = parse_travel(prompt, num_frames=num_frames, **options)
    return [frame.weights.get(text, 0.0) for frame in travel.frames]


def test_between_two_keys_the_later_one_grows_in_equal_steps():
    assert shares("0: a\n4: b", "b", 6) == [0, 0.25, 0.5, 0.75, 1, 1]


def test_before_the_first_key_and_behind_the_last_it_stays():
    assert shares("2: a\n4: b", "a", 7) == [1, 1, 1, 0.5, 0, 0, 0]


@pytest.mark.parametrize(
    ("easing", "expected"),
    [
        ("linear", [0, 0.25, 0.5, 0.75, 1]),
        ("smooth", [0, 5 / 32, 0.5, 27 / 32, 1]),
        ("in", [0, 1 / 16, 0.25, 9 / 16, 1]),
        ("out", [0, 7 / 16, 0.75, 15 / 16, 1]),
        ("step", [0, 0, 0, 0, 1]),
    ],
)
def test_a_key_goes_on_as_it_says(easing, expected):
    assert shares(f"0 {easing}: a\n4: b", "b", 5) == pytest.approx(expected)


def test_a_closed_clip_goes_back_to_its_first_key():
    assert shares("0: a\n4: b", "b", 8, closed=True) == [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25]
    assert shares("2: a\n6: b", "b", 8, closed=True) == [0.5, 0.25, 0, 0.25, 0.5, 0.75, 1, 0.75]


def test_a_key_beyond_the_end_is_travelled_towards():
    assert shares("0: a\n8: b", "b", 4) == [0, 0.125, 0.25, 0.375]


def test_a_key_beyond_the_end_has_no_place_in_a_loop():
    closed = parse_travel("0: a\n4: b\n20: c", num_frames=8, closed=True)
    assert closed.frames == parse_travel("0: a\n4: b", num_frames=8, closed=True).frames
    assert "frame 20" in closed.notes[0]


def test_a_ramp_that_has_arrived_needs_its_beginning_no_more():
    travel = parse_travel("0 step: a\n14.5: (s:0→2)", num_frames=16)
    assert travel.frames[15].start == (("(s:2)", 1.0),)
    assert set(travel.prompts) == {"a", "(s:2)"}


def test_a_key_between_two_frames_counts_where_it_is():
    assert shares("0: a\n2.5: b", "b", 4) == pytest.approx([0, 0.4, 0.8, 1])


def test_a_weight_travels_until_the_next_key_and_the_prompts_cross_meanwhile():
    travel = parse_travel("0 step: (smile:0→1)\n4: b", num_frames=5)
    assert [frame.weights.get("(smile:1)", 0) for frame in travel.frames] == [0, 0.25, 0.5, 0.75, 0]
    assert travel.frames[4].weights == {"b": 1}
    middle = parse_travel("0: (smile:0→1)\n4: b", num_frames=5).frames[2]
    assert middle.weights == pytest.approx({"(smile:0)": 0.25, "(smile:1)": 0.25, "b": 0.5})


def test_a_weight_in_the_last_key_arrives_with_the_last_frame():
    assert shares("0: (smile:0→2)", "(smile:2)", 5) == [0, 0.25, 0.5, 0.75, 1]


def test_only_what_is_needed_is_encoded():
    assert parse_travel("a\n0: b\n8: c", num_frames=4).prompts == ("a, b", "a, c")
    assert parse_travel("0: b\n8: c", num_frames=1).prompts == ("b",)


@given(
    keys=st.dictionaries(st.integers(0, 40), st.sampled_from(list(EASINGS)), min_size=1, max_size=6),
    num_frames=st.integers(1, 40),
    closed=st.booleans(),
)
def test_what_a_frame_is_told_always_counts_one_in_all(keys, num_frames, closed):
    prompt = "\n".join(f"{at} {easing}: (p{at}:0→1)" for at, easing in keys.items())
    travel = parse_travel(prompt, num_frames=num_frames, closed=closed)
    assert len(travel.frames) == num_frames
    for frame in travel.frames:
        assert sum(frame.weights.values()) == pytest.approx(1)
        assert all(0 <= weight <= 1 for weight in frame.weights.values())
