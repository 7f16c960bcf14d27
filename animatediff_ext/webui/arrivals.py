"""Videos as they come from the WebUI, frame by frame.

It shows each frame to scripts for the last time in *postprocess_image_after_composite*, where a script behind us may
still put another picture in its place. So what is kept is the object that they put it into.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from PIL.Image import Image


@dataclass(kw_only=True)
class Arrival:
    """One video: which of the generation it is, and seed, prompt and infotext of its first frame."""

    number: int
    seed: int
    prompt: str
    infotext: str
    given: list[Any] = field(default_factory=list)
    """The WebUI's ``PostprocessImageArgs`` of each frame so far."""
    shown: list[Image] | None = None
    """What stands for it in the answer, once its files have been written."""
    notes: list[str] = field(default_factory=list)
    """Sentences on those files."""

    def frames(self) -> list[Image]:
        """Final once the WebUI has gone on to something else."""
        return [given.image for given in self.given]
