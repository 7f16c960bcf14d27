"""The pictures of the documents: what their examples of ``generate`` make with the toy world.

An example is a command, as a block or as code in a line, with an image in the next line that is not empty. Where it
begins with ``…`` it goes on from the whole command before it, and options that it repeats count anew. A picture is what
its name ends in: .webp or .gif moves, .png is a still. Commands are run in the order of the page, so that one may begin
with the picture of another.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from animatediff_ext.media import WRITERS, read_frames
from animatediff_ext.save import as_played
from animatediff_ext.standalone import commands
from animatediff_ext.toy.report import enlarged
from animatediff_ext.whole_file import whole_file

COMMAND = ("python", "-m", "animatediff_ext", "generate")
SCALE = 3
"""A pixel of a clip is a square of so many."""
_CODE = re.compile(r"^```(?P<language>\w*)\n(?P<block>.*?)^```$|^`(?P<line>[^`\n]+)`$", re.MULTILINE | re.DOTALL)
_PICTURE = re.compile(r"\n+!\[[^\]]*\]\((?P<path>[^)\s]+)\)")


@dataclass(frozen=True, kw_only=True)
class Example:
    """A command of a page, and the picture that it makes."""

    words: tuple[str, ...]
    """Behind ``generate``."""
    picture: Path | None

    def make(self) -> None:
        """Run the command and write what it makes, enlarged, in place of the picture."""
        with TemporaryDirectory() as folder:
            parser = argparse.ArgumentParser()
            commands.declare(parser)
            arguments = parser.parse_args([*self.words, "--seed=1", "--format=png", "--output", folder])
            if arguments.run(arguments):
                raise ValueError(f"{self.picture} was not made: its command failed.")
            (frames,) = (path for path in Path(folder).iterdir() if path.is_dir())
            clip = np.stack(list(read_frames(frames)))
        (entry,) = commands.entries_of(arguments)
        shown, (_, fps) = enlarged(clip, SCALE), as_played((), entry.job.animation)
        if self.picture.suffix == ".png":
            with whole_file(self.picture) as part:
                Image.fromarray(shown[0]).save(part, format="PNG")
        else:
            WRITERS[self.picture.suffix[1:].upper()](list(shown), self.picture, fps=fps)


def examples(page: Path) -> Iterator[Example]:
    """Every command of ``generate`` on a page, in order."""
    whole: list[str] = []
    text = page.read_text(encoding="utf-8")
    for found in _CODE.finditer(text):
        code = found["block"] or found["line"] or ""
        if not code.startswith(("…", " ".join(COMMAND))):
            continue
        words = shlex.split(code.replace("\\\n", " "))
        if words[0] == "…":
            words = [*whole, *words[1:]]
        else:
            whole = words = words[len(COMMAND) :]
        picture = _PICTURE.match(text, found.end())
        yield Example(words=tuple(words), picture=page.parent / picture["path"] if picture else None)
