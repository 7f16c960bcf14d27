"""Grids of X/Y/Z plots that move: one clip with all the clips of the cells, and the plot's own legend.

The plot draws its grids from a picture of each cell, and calls nothing once it has. So its drawing is wrapped: it is
first left to work as ever, and then draws the same plot again for each moment, with what the cells' clips show then.
What the cells have to say is put into the plot's comments.
"""

from __future__ import annotations

import datetime
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass
from functools import wraps
from inspect import getclosurevars
from itertools import zip_longest
from pathlib import Path
from typing import Any

from modules import images, shared
from modules.processing import Processed
from PIL import Image

from animatediff_ext.media import MediaError
from animatediff_ext.params import Animation, Output
from animatediff_ext.save import as_played, save_animation
from animatediff_ext.webui import host, output, playing, plot_words, xyz
from animatediff_ext.webui.errors import AnimateDiffError
from animatediff_ext.webui.generation import Generation
from animatediff_ext.webui.settings import encode_options
from animatediff_ext.webui.temporary import folder_for_now, stem_for_now

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
    videos = output.videos_of(generation)
    if not videos:
        return
    video = videos[0]
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
        if cell is None:
            return draw(p, *args, **how)
        cells: dict[tuple[int, int, int], Any] = {}

        def noted(x, y, z, *place):
            try:
                cells[place] = cell(x, y, z, *place)
            except AnimateDiffError:  # the plot asks its first cell for an infotext, also where that was refused
                cells[place] = Processed(p, [], p.seed, "")
            return cells[place]

        with host.overrides_in_force(p):
            moves = host.setting(SETTING, True)
        vars(p)[_WANTED] = moves
        try:
            with plot_words.problems_heard(p) as problems:
                plot = draw(p, *args, **{**how, "cell": noted})
        finally:
            del vars(p)[_WANTED]
        if problems and not any(one.images for one in cells.values()):
            raise next(iter(problems.values()))
        _say(p, plot, [*p.comments, *problems])

        def at(time_s: float):
            return draw(p, *args, **{**how, "cell": lambda _x, _y, _z, *place: _shown(cells[place], time_s)})

        clips = [clip for clip in map(_clip_of, cells.values()) if clip]
        if clips and plot.images and not shared.state.interrupted:
            num_grids = 1 + (len(how["zs"]) if how.get("include_sub_grids") else 0)
            plot.infotexts = [own or text for own, text in zip_longest(_infotexts_of(cell), plot.infotexts)]
            with host.overrides_in_force(p):
                _set_in_motion(p, plot, num_grids, clips, at)
        if clips and not p.is_api:
            playing.tell(plot)
        return plot

    setattr(drawn, _WRAPPED, True)
    return drawn


def _infotexts_of(cell: Callable) -> list[str | None]:
    """The grids' own, in which the plot is named: it puts them into its answer only after it has drawn."""
    try:
        return getclosurevars(cell).nonlocals.get("grid_infotext", [])
    except (TypeError, ValueError):  # not the WebUI's own function
        return []


def _say(p, plot, sentences: list[str]) -> None:
    """What is new of it. The plot itself has the comments of its first cell alone."""
    said = plot.comments or ""
    new = [sentence for sentence in sentences if sentence not in said]
    plot.comments = said + "".join(f"{sentence}\n" for sentence in new)
    if p.is_api and new:
        known = plot.extra_generation_params.get(output.COMMENTS_KEY, [])
        plot.extra_generation_params = {**plot.extra_generation_params, output.COMMENTS_KEY: [*known, *new]}


def _set_in_motion(p, plot, num_grids: int, clips: list[Clip], at: Callable) -> None:
    """The first ``num_grids`` pictures of a plot. A grid that cannot be drawn or written stays still."""
    formats = [name for name in output.RETURNED if name in clips[0].animation.output.formats]
    if p.is_api and not formats:
        return
    try:
        with _drawn(num_grids, clips, at) as grids:
            for i, frames in enumerate(grids):
                plot.images[i] = _moving_grid(p, plot, i, clips[0], formats, frames)
    except (MediaError, OSError) as problem:  # the plot itself is there
        _say(p, plot, [f"The grid does not move: {problem}"])
    except _StoppedError:
        _say(p, plot, ["The grid does not move, since drawing it was interrupted."])


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


class _StoppedError(Exception):
    """The user has pressed *Interrupt*."""


class _GridFrames(Sequence[Image.Image]):
    """The pictures of one grid, which lie in files, so that memory does not grow with their number."""

    def __init__(self, files: list[Path], fps: float, stop_if_asked: Callable[[], None]):
        self.fps = fps
        self._files, self._stop_if_asked = files, stop_if_asked

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Image.Image:
        file = self._files[index]
        self._stop_if_asked()
        with Image.open(file) as picture:
            return picture.convert("RGB")


@contextmanager
def _drawn(num_grids: int, clips: list[Clip], at: Callable) -> Iterator[list[_GridFrames]]:
    """Each moment once, for all grids and all their formats. Raises `_StoppedError`, also while these are read."""
    stop_if_asked = _until_interrupted()
    fps = min(max(clip.fps for clip in clips), MAX_FPS)
    number = min(max(1, round(max(clip.duration_s for clip in clips) * fps)), MAX_FRAMES)
    files: list[list[Path]] = [[] for _ in range(num_grids)]
    with folder_for_now() as folder:
        for moment in range(number):
            stop_if_asked()
            for i, grid in enumerate(at(moment / fps).images[:num_grids]):
                picture = grid.convert("RGB")
                picture.thumbnail((MAX_SIDE, MAX_SIDE))
                files[i].append(folder / f"{i}-{moment}.png")
                picture.save(files[i][-1], compress_level=1)
        yield [_GridFrames(these, fps, stop_if_asked) for these in files]


def _until_interrupted() -> Callable[[], None]:
    """The first press of *Interrupt* may only ask the WebUI to stop after this picture; one that came while the cells
    were made has ended them, and is not meant again."""
    was_stopping = shared.state.stopping_generation

    def stop_if_asked() -> None:
        if shared.state.interrupted or (shared.state.stopping_generation and not was_stopping):
            raise _StoppedError

    return stop_if_asked


def _moving_grid(p, plot, index: int, first: Clip, formats: list[str], frames: _GridFrames) -> Image.Image:
    still = plot.images[index]
    animation = Animation(output=Output(fps=frames.fps, loop_count=first.animation.output.loop_count))
    comment = plot.infotexts[index] or ""  # of a cell that was refused, none
    how = {"embedded": shared.opts.enable_pnginfo, "options": encode_options()}

    def write(stem: Path, formats: set[str]) -> dict[str, Path]:
        return save_animation(frames, stem, animation, comment=comment, formats=formats, **how)

    keep = shared.opts.grid_save and not p.do_not_save_grid
    if not p.is_api:
        files = write(_stem(p, first.seed), set(formats)) if keep and formats else {}
        moving = output.stand_in(files, write)
        return MovingPicture.of(still, moving, playing.entry(moving, files, frames.fps))
    with nullcontext(_stem(p, first.seed)) if keep else stem_for_now() as stem:
        files = write(stem, set(formats if keep else formats[:1]))
        return output.FilePicture.of(still, files[formats[0]])


def _stem(p, seed: int) -> Path:
    """The next number's in the folder of today."""
    today = Path(p.outpath_grids) / "AnimateDiff" / datetime.date.today().isoformat()
    today.mkdir(parents=True, exist_ok=True)
    number = images.get_next_sequence_number(str(today), _NAME)
    return today / f"{_NAME}-{number:05}-{seed}"
