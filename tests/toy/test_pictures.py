"""The commands that documents show with the toy world are ones that `generate` takes, and make the pictures beside."""

import argparse
from pathlib import Path

import numpy as np
import pytest

from animatediff_ext.media import read_frames
from animatediff_ext.standalone import commands
from animatediff_ext.toy.files import BASE, MOTION, SHIPPED
from animatediff_ext.toy.pictures import SCALE, Example, examples

ROOT = Path(__file__).parents[2]
PAGES = ("docs/directing.md", "docs/prompt-travel.md", "docs/toy.md")


@pytest.mark.parametrize("page", PAGES)
def test_generate_takes_the_commands_of_a_page(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = list(examples(ROOT / page))
    assert found
    for example in found:
        parser = argparse.ArgumentParser()
        commands.declare(parser)
        (entry,) = commands.entries_of(parser.parse_args(list(example.words)))
        assert Path(entry.job.checkpoint).parent == Path("model/toy")


@pytest.mark.parametrize("page", PAGES)
def test_a_picture_stands_on_one_page_once(page):
    made = [example.picture for example in examples(ROOT / page) if example.picture]
    assert len(set(made)) == len(made)


def test_examples_go_on_from_the_first_command_of_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        'Say\n\n```\npython -m animatediff_ext generate --checkpoint a.ckpt \\\n    --prompt "0: red\n8: blue"\n```\n\n'
        'or `… --cfg 3` in passing\n\n`… --steps 4`\n\n![four](pictures/four.gif)\n\n```toml\nname = "x"\n```\n'
    )
    first, second = examples(page)
    assert first == Example(words=("--checkpoint", "a.ckpt", "--prompt", "0: red\n8: blue"), picture=None)
    assert second == Example(words=(*first.words, "--steps", "4"), picture=tmp_path / "pictures/four.gif")


@pytest.mark.skipif(not (SHIPPED / MOTION).is_file(), reason="the toy world is not there yet")
def test_a_picture_is_what_its_command_makes(tmp_path):
    models = ("--checkpoint", str(SHIPPED / BASE), "--motion-module", str(SHIPPED / MOTION))
    how = ("--size=64x64", "--steps=1", "--frames=2", "--prompt=a red circle")
    picture = tmp_path / "pictures" / "red.gif"
    Example(words=(*models, *how), picture=picture).make()
    frames = np.stack(list(read_frames(picture)))
    assert frames.shape == (2, 64 * SCALE, 64 * SCALE, 3)
    squares = frames.reshape(2, 64, SCALE, 64, SCALE, 3).astype(float)
    assert squares.std(axis=(2, 4)).mean() < 8  # of one colour each, but for the dots of a GIF's palette


def test_a_command_that_fails_is_not_taken_for_a_picture(tmp_path, capsys):
    missing = ("--checkpoint", str(tmp_path / "none.safetensors"), "--prompt=a", "--frames=2")
    with pytest.raises(ValueError, match="its command failed"):
        Example(words=missing, picture=tmp_path / "none.gif").make()
    assert not (tmp_path / "none.gif").exists()
