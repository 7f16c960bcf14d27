"""The page draws what a travelling prompt will tell each frame, before anything is generated."""

import re

import pytest


def shares(html: str) -> list[list[float]]:
    """What every prompt counts in every frame, as it is drawn."""
    rows = re.findall(r"<tr>.*?</tr>", html)
    return [[float(share) for share in re.findall(r"255, ([\d.]+)\)", row)] for row in rows]


def names(html: str) -> list[str]:
    """What the rows are called."""
    return re.findall(r"<th[^>]*>(.*?)</th>", html)


@pytest.fixture
def drawn(host):
    def draw(prompt, negative="", length=4, fps=8, closed_loop="R-P", context=16, old_numerics=False):
        return host.webui("preview").drawn(prompt, negative, length, fps, closed_loop, context, old_numerics)

    return draw


def test_every_prompt_has_a_row_and_every_frame_a_cell(drawn):
    html = drawn("a\n0: cat\n4: dog")
    assert shares(html) == [[1, 0.75, 0.5, 0.25], [0, 0.25, 0.5, 0.75]]
    assert "a, cat" in html
    assert "2 keys over 4 frames" in html


def test_rows_are_called_by_what_sets_them_apart(drawn):
    html = drawn("masterpiece, best quality\n0: cat, asleep\n2: dog, asleep\nsoft light")
    assert names(html) == ["… cat …", "… dog …"]
    assert "title='masterpiece, best quality, cat, asleep, soft light'" in html
    assert names(drawn("a\n0: cat\n2:\n")) == ["… cat", "…"]
    assert names(drawn("a\n0: cat")) == ["a, cat"]


def test_the_negative_prompt_is_drawn_too(drawn):
    assert len(shares(drawn("0: a\n2: b", "0: c\n2: d"))) == 4


@pytest.mark.parametrize("length", [0, None])
def test_no_number_of_frames_is_one_context(drawn, length):
    assert len(shares(drawn("0: a\n8: b", length=length, context=12))[0]) == 12


def test_times_go_by_the_rate_and_closed_loops_close(drawn):
    assert shares(drawn("0: a\n0.5s: b", fps=4)) == [[1, 0.5, 0, 0], [0, 0.5, 1, 1]]
    assert shares(drawn("0: a\n2: b", closed_loop="R+P")) == [[1, 0.5, 0, 0.5], [0, 0.5, 1, 0.5]]


def test_a_long_clip_is_drawn_in_part(drawn):
    assert len(shares(drawn("0: a\n900: b", length=1000))[0]) <= 120


def test_an_ordinary_prompt_shows_what_keys_look_like(drawn):
    assert "0: a cat" in drawn("a cat")
    assert not shares(drawn("a cat"))


def test_mistakes_are_pointed_out(drawn):
    assert "looks like a key" in drawn("0: a\n4 = b")
    assert "perhaps smooth" in drawn("0: a\n4 smoth: b")
    assert "second key for frame 2" in drawn("0: a\n2: b\n2: c")
    assert "second key for frame 2" in drawn("0: a\n2: b\n2: c", old_numerics=True)
    assert "Overlap" not in drawn("0: a", context=2)


def test_what_a_prompt_says_is_text_and_no_html(drawn):
    assert "<script>" not in drawn("0: <script>alert(1)</script>\n4: b")


def test_old_numerics_knows_the_old_keys_only(drawn):
    assert len(shares(drawn("0: a\n50% smooth: b"))[0]) == 4
    assert not shares(drawn("50% smooth: b", old_numerics=True))
    assert shares(drawn("0: a\n2: b", closed_loop="R+P", old_numerics=True)) == [[1, 0.5, 0, 0], [0, 0.5, 1, 1]]


def test_comments_and_tags_are_none_of_it(host, drawn, monkeypatch):
    """As in the WebUI's generation; a text in the page still has them."""
    monkeypatch.setattr(host.shared.opts, "enable_prompt_comments", True, raising=False)
    assert names(drawn("<lora:x:1> 0: cat # not a dog\n# then\n8: dog <lora:x:1>")) == names(drawn("0: cat\n8: dog"))
    monkeypatch.setattr(host.shared.opts, "enable_prompt_comments", False)
    assert "#2" in drawn("0: cat #2\n8: dog")
