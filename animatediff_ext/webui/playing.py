"""Which video the page plays for a picture of the gallery (javascript/player.js).

A browser's picture cannot be an MP4, so the gallery has a picture for each video, which save, zip and the send-to
buttons use; the page learns from the generation info, which comes with the pictures, what to play in its place.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modules import shared, ui_tempdir

KEY = "AnimateDiff videos"
_PLAYED = ("MP4", "WEBM")
"""By browsers; the first one that was written is taken."""


def entry(picture: Path, files: Mapping[str, Path], fps: float) -> dict[str, Any] | None:
    """An entry of the list under `KEY`, and leave for the page to have the video. None if there is none to play."""
    video = next((files[name] for name in _PLAYED if name in files), None)
    if video is None:
        return None
    ui_tempdir.register_tmp_file(shared.demo, str(video))
    return {"picture": os.path.abspath(picture), "video": os.path.abspath(video), "fps": fps}


def tell(processed) -> None:
    """Let the page know what plays in place of the pictures that have an entry as their attribute `plays`.

    In the answer's info alone: infotexts were made before.
    """
    played = [picture.plays for picture in processed.images if getattr(picture, "plays", None)]
    if played:
        processed.extra_generation_params = {**processed.extra_generation_params, KEY: played}
