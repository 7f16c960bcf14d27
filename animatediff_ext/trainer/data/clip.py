"""One clip of a data set: where it is, what it shows, and what is known of it once it has been looked at."""

from __future__ import annotations

import os
from dataclasses import dataclass

from animatediff_ext.media import MediaError, Timeline


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a look into a clip told."""

    width: int
    height: int
    timeline: Timeline
    file_size: int
    modified_ns: int
    """Of the file, with ``file_size`` what tells one content from another."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A video or a picture with its caption."""

    name: str
    """What messages call it; also decides whether it is held out."""
    path: str
    """Of the file, or of the tar that it is in."""
    place: tuple[int, int] | None = None
    """In a tar: its first byte and its number of bytes."""
    caption: str
    repeats: int = 1
    """How often it comes up in one pass over the data."""
    seen: Seen | None = None
    """None as long as it has not been looked at."""

    @property
    def num_frames(self) -> int:
        """Of a clip that has been looked at."""
        return self.seen.timeline.num_frames

    def source(self) -> str | bytes:
        """What `animatediff_ext.media` reads: the path, or the bytes of a clip in a tar. Raises ``MediaError``."""
        if self.place is None:
            return self.path
        start, size = self.place
        try:
            with open(self.path, "rb") as file:
                file.seek(start)
                content = file.read(size)
        except OSError as error:
            raise MediaError(f"{self.path} cannot be read ({error.strerror}); is the tar still there?") from error
        if len(content) < size:
            raise MediaError(f"{self.path} ends before its clip does; copy or download the tar anew.")
        return content

    def stat(self) -> tuple[int, int]:
        """Size in bytes and time of change in ns of the file. Raises ``MediaError``."""
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise MediaError(f"{self.path} cannot be read ({error.strerror}); check the path.") from error
        return found.st_size, found.st_mtime_ns

    def identity(self) -> tuple:
        """What changes when what is in the clip may have changed. Only of a clip that has been looked at."""
        return (self.path, self.place, self.seen.file_size, self.seen.modified_ns)

    def complaint(self, error: MediaError) -> str:
        """What is wrong with the clip, to go on after its name: "is no video that can be read (…); …"."""
        return str(error).removeprefix("The clip" if self.place else self.path).strip()
