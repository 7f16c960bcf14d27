"""The commands that documents show with the toy world are ones that `generate` takes, and make the pictures beside."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animatediff_ext.media import probe, read_frames
from animatediff_ext.standalone import commands
from animatediff_ext.toy.files import BASE, MOTION, SHIPPED
from animatediff_ext.toy.pictures import SCALE, Example, examples

ROOT = Path(__file__).parents[2]
_NAMES = ("api", "directing", "generate", "output", "prompt-travel", "toy", "training", "video-to-video")
PAGES = tuple(f"docs/{name}.md" for name in _NAMES)


@pytest.mark.parametrize("page", PAGES)
def test_generate_takes_the_commands_of_a_page(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = [example for example in examples(ROOT / page) if "model/toy" in " ".join(example.words)]
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


def test_examples_go_on_from_the_whole_command_before_them(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        'Say\n\n```\npython -m animatediff_ext generate --checkpoint a.ckpt \\\n    --prompt "0: red\n8: blue"\n```\n\n'
        'or `… --cfg 3` in passing\n\n`… --steps 4`\n\n![four](pictures/four.gif)\n\n```toml\nname = "x"\n```\n'
        "\n```\npython -m animatediff_ext generate --checkpoint b.ckpt\n```\n\n`… --cfg 2`\n\n![two](two.webp)\n"
    )
    first, second, third, fourth = examples(page)
    assert third == Example(words=("--checkpoint", "b.ckpt"), picture=None)
    assert fourth == Example(words=(*third.words, "--cfg", "2"), picture=tmp_path / "two.webp")
    assert first == Example(words=("--checkpoint", "a.ckpt", "--prompt", "0: red\n8: blue"), picture=None)
    assert second == Example(words=(*first.words, "--steps", "4"), picture=tmp_path / "pictures/four.gif")


@pytest.mark.skipif(not (SHIPPED / MOTION).is_file(), reason="the toy world is not there yet")
@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_a_picture_is_what_its_command_makes(tmp_path, ending):
    models = ("--checkpoint", str(SHIPPED / BASE), "--motion-module", str(SHIPPED / MOTION))
    how = ("--size=64x64", "--steps=1", "--frames=2", "--prompt=a red circle")
    picture, number = tmp_path / "pictures" / f"red.{ending}", 1 if ending == "png" else 2
    Example(words=(*models, *how), picture=picture).make()
    frames = np.stack(list(read_frames(picture) if number > 1 else [np.asarray(Image.open(picture))]))
    assert frames.shape == (number, 64 * SCALE, 64 * SCALE, 3)
    squares = frames.reshape(number, 64, SCALE, 64, SCALE, 3).astype(float)
    assert squares.std(axis=(2, 4)).mean() < 8  # of one colour each, but for the dots of a GIF's palette


@pytest.mark.skipif(not (SHIPPED / MOTION).is_file(), reason="the toy world is not there yet")
def test_a_picture_plays_as_its_file_does(tmp_path):
    models = ("--checkpoint", str(SHIPPED / BASE), "--motion-module", str(SHIPPED / MOTION))
    how = ("--size=64x64", "--steps=1", "--frames=3", "--prompt=a red circle")
    smooth = ("--set=interp=FFmpeg", "--set=interp_x=2")
    Example(words=(*models, *how, *smooth), picture=tmp_path / "smooth.webp").make()
    clip = probe(tmp_path / "smooth.webp")
    assert (clip.num_frames, round(clip.fps)) == (5, 16)


def test_a_command_that_fails_is_not_taken_for_a_picture(tmp_path, capsys):
    missing = ("--checkpoint", str(tmp_path / "none.safetensors"), "--prompt=a", "--frames=2")
    with pytest.raises(ValueError, match="its command failed"):
        Example(words=missing, picture=tmp_path / "none.gif").make()
    assert not (tmp_path / "none.gif").exists()
