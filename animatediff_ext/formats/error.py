"""What is wrong with a file, in a sentence that its owner can act on."""

from __future__ import annotations

from pathlib import Path


class FormatError(ValueError):
    """A file that cannot be used as a motion module: the message says what it is and what to do.

    ``path`` is the file or folder, where there is one.
    """

    def __init__(self, message: str, path: Path | None = None):
        super().__init__(message, path)
        self.path = path

    @classmethod
    def about(cls, path: Path, problem: str) -> FormatError:
        """``problem`` is the sentence without its subject, the file's name: "is empty, download it again."."""
        return cls(f"{path.name} {problem}", path)

    def __str__(self) -> str:
        return self.args[0]
