"""What is wrong with an image model, in a sentence that its owner can act on."""

from __future__ import annotations

from pathlib import Path


class SpatialModelError(ValueError):
    """A file or folder that cannot be used as the image model: the message says what it is and what to do."""

    @classmethod
    def about(cls, path: Path, problem: str) -> SpatialModelError:
        """``problem`` is the sentence without its subject, the file's name: "is a LoRA, …"."""
        return cls(f"{path.name} {problem}")
