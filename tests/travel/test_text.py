"""Prompts with keys are understood as they are meant, or somebody is told."""

import pytest

from animatediff_ext.travel import TravelError, parse_travel
from animatediff_ext.travel.text import ramp_ends, taken_apart


def keys(prompt, num_frames=17, fps=8.0):
    return [(key.at, key.text, key.easing) for key in taken_apart(prompt, num_frames=num_frames, fps=fps).keys]


def notes(prompt, num_frames=16):
    return parse_travel(prompt, num_frames=num_frames).notes


def test_the_grammar_of_the_old_extension_is_understood():
    """The example of its README."""
    head = "1girl, yoimiya (genshin impact), origen, line, comet, wink, Masterpiece, BestQuality"
    text = taken_apart(f"{head}\n0: closed mouth\n8: open mouth\nBestQuality", num_frames=16, fps=8)
    assert text.head == (head,)
    assert [(key.at, key.text) for key in text.keys] == [(0, "closed mouth"), (8, "open mouth")]
    assert text.prompt("x").endswith("BestQuality, x, BestQuality")
    assert not text.notes


RECORDED = {
    "193": ("0: girl\n8: forest", [0, 8], "girl"),
    "193, weights": (
        "0: (serious face:0.5),( looking away:1.2), \n3: open eyes, looking at viewer, \n4: (closed eyes:1.2)\n"
        "5: open eyes\n6: (smile:0.8)",
        [0, 3, 4, 5, 6],
        "(serious face:0.5),( looking away:1.2)",
    ),
    "267": ("blond woman\n0: open eyes\n10: close eyes\n14: smile", [0, 10, 14], "blond woman, open eyes"),
    "308": ("girl,\n0: in jungle\n8: in car\n16: in the space\n24: close up", [0, 8, 16, 24], "girl, in jungle"),
    "491": (
        "1girl,solo,<lora:mm_sd15_v2_lora_TiltDown:1>\n0: (red shirt:1.2)\n8: (white shirt:1.2)\n"
        "16: (green shirt:1.2)\n24: (blue shirt:1.2)\n<lora:mm_sd15_v2_lora_TiltUp:1>",
        [0, 8, 16, 24],
        "1girl,solo,<lora:mm_sd15_v2_lora_TiltDown:1>, <lora:mm_sd15_v2_lora_TiltUp:1>, (red shirt:1.2)",
    ),
}
"""Prompts in threads of sd-webui-animatediff, by number: keys, and what the first frame is told."""


@pytest.mark.parametrize("number", RECORDED)
def test_prompts_of_its_users_are_understood_without_a_word(number):
    prompt, at, first = RECORDED[number]
    travel = parse_travel(prompt, num_frames=32)
    assert [key.at for key in travel.keys] == at
    assert list(travel.frames[0].weights) == [first]
    assert not travel.notes


@pytest.mark.parametrize(
    ("line", "at"),
    [
        ("8: a cat", 8),
        ("8:a cat", 8),
        ("8 : a cat", 8),
        ("  8: a cat  ", 8),
        ("7.5: a cat", 7.5),
        ("50%: a cat", 8),
        ("100%: a cat", 16),
        ("1.5s: a cat", 12),
        ("1S:a cat", 8),
    ],
)
def test_a_key_is_a_frame_a_share_or_a_time(line, at):
    assert keys(line) == [(at, "a cat", "linear")]


@pytest.mark.parametrize("num_frames", range(2, 130))
def test_the_key_at_the_end_is_that_of_the_last_frame(num_frames):
    travel = parse_travel("0 step: a\n100%: b", num_frames=num_frames)
    assert list(travel.frames[-1].weights) == ["b"]
    last = num_frames - 1
    assert keys(f"{last}: x\n100%: y", num_frames) == [(last, "y", "linear")]


def test_every_frame_has_a_time_and_a_share_of_its_own():
    for fps in (8, 10, 12.5, 25.0):
        for frame in range(100):
            assert keys(f"{frame / fps:.3f}s: a", 101, fps)[0][0] == frame
            assert keys(f"{frame}%: a", 101, fps)[0][0] == frame
    assert keys("1.1s: a", fps=10.0) == [(11, "a", "linear")]


@pytest.mark.parametrize("easing", ["linear", "smooth", "in", "out", "step", "Smooth"])
def test_a_key_says_how_it_goes_on(easing):
    assert keys(f"8 {easing}: a cat") == [(8, "a cat", easing.lower())]
    assert keys(f"50% {easing} : a cat") == [(8, "a cat", easing.lower())]


def test_blank_lines_and_lines_of_tags_end_nothing():
    text = taken_apart("a\n\n0: b\n\n<lora:x:1>\n , \n8: c\n\nd", num_frames=16, fps=8)
    assert [key.at for key in text.keys] == [0, 8]
    assert text.prompt("b") == "a, <lora:x:1>, b, d"
    assert not text.notes


def test_a_weight_that_travels_outside_keys_is_pointed_out():
    assert "only those of keys can" in notes("(smile:0→1)\n0: a")[0]
    assert "only those of keys can" in notes("a (smile:0->1)")[0]


def test_a_misspelt_easing_is_said_with_the_right_one():
    with pytest.raises(TravelError, match="'smoth': choose from linear, smooth, in, out, step; perhaps smooth"):
        keys("0: a\n8 smoth: b")


@pytest.mark.parametrize(
    ("written", "meant"), [("smoth", "smooth"), ("smoohth", "smooth"), ("liner", "linear"), ("steps", "step")]
)
def test_easings_are_misspelt_in_many_ways(written, meant):
    with pytest.raises(TravelError, match=f"perhaps {meant}"):
        keys(f"0: a\n8 {written}: b")


@pytest.mark.parametrize("line", ["90s style: neon city", "3 stops: a bus", "4 lines: red, blue"])
def test_a_line_that_begins_with_a_number_is_a_part_of_a_prompt_that_travels(line):
    text = taken_apart(f"{line}\n0: a\n8: b", num_frames=16, fps=8)
    assert text.head == (line,)
    assert [key.at for key in text.keys] == [0, 8]


@pytest.mark.parametrize(
    "prompt",
    ["a cat", "16:9 wide shot", "2 cats: one red, one blue", "4 lines: red, blue", "(a cat:1.2), dog", ""],
)
def test_an_ordinary_prompt_stays_one(prompt):
    travel = parse_travel(prompt, num_frames=4)
    assert not travel.travels
    assert travel.prompts == (prompt,)
    assert not travel.notes


def test_keys_need_no_order():
    assert [at for at, *_ in keys("8: b\n0: a\n4: c")] == [0, 4, 8]


def test_lines_before_and_behind_leave_no_stray_commas():
    text = taken_apart("head,\n\n0: a,\n8: b\n, tail", num_frames=16, fps=8)
    assert text.prompt(text.keys[0].text) == "head, a, tail"
    assert taken_apart("0: a", num_frames=16, fps=8).prompt("a") == "a"


def test_a_key_behind_the_tail_is_pointed_out():
    (note,) = notes("0: a\ntail\n8: b")
    assert "Line 3 (8: b) is a key, but comes after a line that is none" in note


@pytest.mark.parametrize(
    "line", ["8 = a cat", "8; a cat", "8,5: a cat", "8 => a cat", "-1: a cat", "8：a cat", "frame"]
)
def test_a_line_that_is_almost_a_key_is_pointed_out(line):
    found = notes(f"0: a\n{line}")
    assert bool(found) == (line != "frame")
    assert all("looks like a key" in note for note in found)


def test_two_keys_for_one_frame_are_pointed_out():
    assert keys("4: a\n4: b") == [(4, "b", "linear")]
    assert "second key for frame 4" in notes("4: a\n4: b")[0]


def test_a_key_that_is_never_reached_is_pointed_out():
    assert "at frame 100, but the last frame is 15" in notes("0: a\n100: b")[0]
    for digits in (400, 5000):
        assert "at frame inf, but the last frame is 15" in notes(f"0: a\n{'9' * digits}: b")[0]


@pytest.mark.parametrize("arrow", ["→", "->"])
def test_a_weight_may_travel(arrow):
    assert ramp_ends(f"a (smile:0{arrow}1.2) here") == ("a (smile:0) here", "a (smile:1.2) here")
    assert ramp_ends("a (smile:1.2) here") == ("a (smile:1.2) here",) * 2


def test_many_tags_before_a_text_take_no_time():
    """Another pattern for lines of tags alone took three times as long for each further tag."""
    line = " ".join(f"<lora:{number}:1>" for number in range(60))
    assert taken_apart(f"{line} a cat", num_frames=16, fps=8).head == (f"{line} a cat",)
    assert taken_apart(f"{line}\n0: b", num_frames=16, fps=8).head == (line,)
