"""Grids of X/Y/Z plots that move: one clip with all the clips of the cells, and the plot's own legend.

The plot draws its grids from a picture of each cell, and calls nothing once it has. So its drawing is wrapped: it is
first left to work as ever, and then draws the same plot again for each moment, with what the cells' clips show then.
"""

from __future__ import annotations

import datetime
import io
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from modules import images, shared
from PIL import Image

from animatediff_ext.media import MediaError
from animatediff_ext.params import Animation, Output
from animatediff_ext.save import as_played, save_animation
from animatediff_ext.webui import host, output, playing, xyz
from animatediff_ext.webui.generation import Generation
from animatediff_ext.webui.settings import encode_options

SETTING = "animatediff_moving_grids"
MAX_FPS, MAX_FRAMES, MAX_SIDE = 60, 300, 4096
"""A plot is looked at, not watched; and browsers play no larger video."""
_WANTED, _CLIP, _WRAPPED = "animatediff_grids", "animatediff_clip", "animatediff_wrapped"
_NAME = "xyz_grid"


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What the file of a cell shows. Frames are kept as PNG: pixels of a whole plot would fill the memory."""

    frames: list[bytes]
    fps: float
    animation: Animation
    seed: int

    @property
    def duration_s(self) -> float:
        return len(self.frames) / self.fps

    def at(self, time_s: float) -> Image.Image:
        """Played again and again."""
        return Image.open(io.BytesIO(self.frames[int(time_s * self.fps + 1e-6) % len(self.frames)]))


class MovingPicture(Image.Image):
    """The first picture of a grid, standing for the file that moves in the gallery, also once the plot has saved it."""

    file: str
    plays: dict[str, Any] | None
    """Of `playing.entry`."""

    @classmethod
    def of(cls, picture: Image.Image, file: Path, plays: dict[str, Any] | None) -> MovingPicture:
        moving = picture.copy()
        moving.__class__ = cls  # as `output.FilePicture`
        moving.file, moving.plays = str(file), plays
        return moving

    @property
    def already_saved_as(self) -> str:
        return self.file

    @already_saved_as.setter
    def already_saved_as(self, _still: str) -> None: ...


def note(generation: Generation, processed) -> None:
    """Keep the clip of a cell, before its frames become files."""
    if not vars(generation.p).get(_WANTED):
        return
    video = next(output.videos_in(generation, processed), None)
    if video is None:
        return
    frames, fps = as_played(video.frames, generation.animation)
    packed = [_packed(frame) for frame in frames]
    vars(processed)[_CLIP] = Clip(frames=packed, fps=fps, animation=generation.animation, seed=video.seed)


def _packed(frame) -> bytes:
    picture = frame if isinstance(frame, Image.Image) else Image.fromarray(frame)
    data = io.BytesIO()
    picture.save(data, "PNG", compress_level=1)
    return data.getvalue()


def register() -> None:
    """Wrap the plot's drawing, once; callback of the WebUI before it builds its page."""
    for plot in xyz.plots():
        draw = getattr(plot, "draw_xyz_grid", None)
        if draw is not None and not hasattr(draw, _WRAPPED):
            plot.draw_xyz_grid = _moving(draw)


def _moving(draw: Callable) -> Callable:
    @wraps(draw)
    def drawn(p, *args, **how):
        cell = how.get("cell")
        if cell is None or not host.setting(SETTING, True):
            return draw(p, *args, **how)
        cells: dict[tuple[int, int, int], Any] = {}

        def noted(x, y, z, *place):
            cells[place] = cell(x, y, z, *place)
            return cells[place]

        vars(p)[_WANTED] = True
        try:
            plot = draw(p, *args, **{**how, "cell": noted})
        finally:
            del vars(p)[_WANTED]

        def at(time_s: float):
            return draw(p, *args, **{**how, "cell": lambda _x, _y, _z, *place: _shown(cells[place], time_s)})

        clips = [clip for clip in map(_clip_of, cells.values()) if clip]
        if clips and plot.images and not shared.state.interrupted:
            num_grids = 1 + (len(how["zs"]) if how.get("include_sub_grids") else 0)
            try:
                for i in range(num_grids):
                    plot.images[i] = _moving_grid(p, plot, i, clips, at)
            except MediaError as problem:  # the plot itself is there
                plot.comments = f"{plot.comments or ''}The grid does not move: {problem}\n"
            if not p.is_api:
                playing.tell(plot)
        return plot

    setattr(drawn, _WRAPPED, True)
    return drawn


def _clip_of(processed) -> Clip | None:
    return vars(processed).get(_CLIP)


def _shown(processed, time_s: float):
    """A cell as it is at a time; one without a clip stays as it is."""
    clip = _clip_of(processed)
    if clip is None or not processed.images:
        return processed
    shown = copy(processed)
    shown.images = [clip.at(time_s)]
    return shown


class _GridFrames:
    """The pictures of one grid, drawn when they are needed, so that memory does not grow with their number."""

    def __init__(self, clips: list[Clip], index: int, at: Callable):
        self.fps = min(max(clip.fps for clip in clips), MAX_FPS)
        self._number = min(max(1, round(max(clip.duration_s for clip in clips) * self.fps)), MAX_FRAMES)
        self._index, self._at = index, at

    def __iter__(self) -> Iterator[Image.Image]:
        for i in range(self._number):
            picture = self._at(i / self.fps).images[self._index].convert("RGB")
            picture.thumbnail((MAX_SIDE, MAX_SIDE))
            yield picture


def _moving_grid(p, plot, index: int, clips: list[Clip], at: Callable) -> Image.Image:
    frames, still, first = _GridFrames(clips, index, at), plot.images[index], clips[0]
    asked = first.animation.output
    animation = Animation(output=Output(fps=frames.fps, loop_count=asked.loop_count))
    comment = plot.infotexts[index] if shared.opts.enable_pnginfo else ""

    def write(stem: Path, formats: set[str]) -> dict[str, Path]:
        return save_animation(frames, stem, animation, comment=comment, formats=formats, options=encode_options())

    keep = shared.opts.grid_save and not p.do_not_save_grid
    formats = [name for name in output.RETURNED if name in asked.formats]
    if not p.is_api:
        files = write(_stem(p, first.seed), set(formats)) if keep and formats else {}
        moving = output.stand_in(files, write)
        return MovingPicture.of(still, moving, playing.entry(moving, files, frames.fps))
    if not formats:
        return still
    with nullcontext(_stem(p, first.seed)) if keep else output.stem_for_now() as stem:
        files = write(stem, set(formats if keep else formats[:1]))
        return output.FilePicture.of(still, files[formats[0]])


def _stem(p, seed: int) -> Path:
    """The next number's in the folder of today."""
    today = Path(p.outpath_grids) / "AnimateDiff" / datetime.date.today().isoformat()
    today.mkdir(parents=True, exist_ok=True)
    number = images.get_next_sequence_number(str(today), _NAME)
    return today / f"{_NAME}-{number:05}-{seed}"
