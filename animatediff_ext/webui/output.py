"""The pictures of a generation → videos in the output folder, in the gallery and in the API's answer."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from modules import shared
from modules.processing import Processed
from PIL.Image import Image, fromarray

from animatediff_ext.media.frames import Frame, Frames
from animatediff_ext.save import FILE_ORDER, made_once, save_animation
from animatediff_ext.webui import host, names, playing
from animatediff_ext.webui.arrivals import Arrival
from animatediff_ext.webui.generation import Generation
from animatediff_ext.webui.settings import encode_options
from animatediff_ext.webui.temporary import preview_stem, stem_for_now
from animatediff_ext.webui.upload import UPLOADED, name_below, name_for_now, upload_videos

_SHOWN_BY_A_BROWSER = ("GIF", "WEBP")
"""The gallery shows pictures; these move."""
TRAVEL_KEY = "AnimateDiff travel"
COMMENTS_KEY = "AnimateDiff comments"
RETURNED = ("GIF", "MP4", "WEBP", "WEBM")
"""What the API returns of the files."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Video:
    """One animation: which of the generation it is, its frames, the infotext, seed and prompt of the first one, and
    whether it came to its end."""

    number: int
    frames: list[Image]
    infotext: str
    seed: int
    prompt: str
    complete: bool
    say: Callable[[str], None]
    """Takes sentences on its files."""


def write_arrived(generation: Generation) -> bool:
    """Write the videos that are finished, before the next one begins: whatever happens to that, they are there.

    Returns whether it is to begin: the WebUI has looked for *Interrupt* before, and writing takes a while, in which
    *Skip* is not meant for the next one either. Raises `MediaError` if a file cannot be written.
    """
    for arrival in generation.arrivals:
        if arrival.shown is None:
            generation.progress.now(stage="writing")
            _written(generation, arrival, _video(generation, arrival))
    shared.state.skipped = False
    return not (shared.state.interrupted or shared.state.stopping_generation)


def rescue(generation: Generation) -> None:
    """After a failure: write the videos that are finished, and that the user would have kept."""
    with host.overrides_in_force(generation.p):
        for arrival in generation.arrivals:
            video = _video(generation, arrival)
            is_whole = len(video.frames) >= generation.animation.num_frames
            if arrival.shown is None and is_whole and _is_kept(generation, video):
                try:
                    _written(generation, arrival, video)
                except Exception as problem:  # what is raised already says why the generation ended
                    _LOG.warning("Video %d was finished, but could not be written: %s", arrival.number + 1, problem)


def deliver(generation: Generation, processed: Processed) -> None:
    """Write what was asked for and is not written yet, and replace the pictures of ``processed`` by animations.

    Raises `MediaError` if a file cannot be written.
    """
    p = generation.p
    if not generation.arrivals and (shared.state.interrupted or shared.state.stopping_generation):
        p.comment("AnimateDiff was interrupted before the first step, so there is nothing to show.")
    info = _show(generation, processed) if generation.arrivals else {}
    processed.comments = "".join(f"{comment}\n" for comment in p.comments)  # it had those of before
    if p.is_api and p.comments:  # the page shows them below the gallery; the API has no place
        info[COMMENTS_KEY] = list(p.comments)
    # in the answer's info alone: infotexts were made before
    processed.extra_generation_params = {**processed.extra_generation_params, **info}
    playing.tell(processed)


def _show(generation: Generation, processed: Processed) -> dict[str, Any]:
    """Files, and what stands for them in ``processed``. Returns what the answer's info says of them."""
    info: dict[str, Any] = {}
    shares = generation.prompt_shares() if generation.p.is_api else {}
    if shares:
        info[TRAVEL_KEY] = shares
    texts = processed.infotexts[processed.index_of_first_image :]  # one for each frame
    shown = []
    # Prompt matrix makes its grid of all pictures, and wants one for each of its prompts.
    most = 1 if isinstance(generation.p.prompt, list) or isinstance(generation.p.negative_prompt, list) else None
    for arrival in generation.arrivals:
        text = texts[0] if texts else arrival.infotext
        texts = texts[len(arrival.given) :]
        items = _written(generation, arrival, _video(generation, arrival, infotext=text))
        shown += [(item, text) for item in items[:most]]
        if len(items[:most]) < len(items):
            arrival.notes.append("The script takes a picture for each video: the answer has the first of each.")
    for note in [note for arrival in generation.arrivals for note in arrival.notes]:
        generation.p.comment(note)
    shown.sort(key=lambda item: not isinstance(item[0], FilePicture))  # frames come behind the files of all videos
    processed.images = [item for item, _ in shown]
    processed.infotexts = [text for _, text in shown]
    processed.index_of_first_image = 0
    return info


def videos_of(generation: Generation) -> list[Video]:
    return [_video(generation, arrival) for arrival in generation.arrivals]


def _video(generation: Generation, arrival: Arrival, *, infotext: str | None = None) -> Video:
    """``infotext`` is that of the answer, once there is one: other scripts may have changed it."""
    return Video(
        number=arrival.number,
        frames=arrival.frames(),
        infotext=arrival.infotext if infotext is None else infotext,
        seed=arrival.seed,
        prompt=arrival.prompt,
        complete=not generation.interrupted[arrival.number],
        say=arrival.notes.append,
    )


def _written(generation: Generation, arrival: Arrival, video: Video) -> list[Image]:
    """What stands for a video in the answer. Its files are written once, and not tried again after a failure."""
    if arrival.shown is None:
        arrival.shown = []
        show = _answer_api if generation.p.is_api else _hand_over if generation.is_for_a_program else _fill_gallery
        arrival.shown = show(generation, video)
    return arrival.shown


def _fill_gallery(generation: Generation, video: Video) -> list[Image]:
    """The first frame, standing for the file that moves: the gallery serves that, other scripts still see a picture."""
    keep = _is_kept(generation, video)
    formats = _formats(generation, keep)
    if not keep:
        formats &= {*UPLOADED} if _is_uploaded(video) else {*_SHOWN_BY_A_BROWSER}
    stem = _stem(generation, video) if keep else preview_stem()
    readers = formats if formats & {*_SHOWN_BY_A_BROWSER} else {*formats, "WEBP"}
    with made_once(video.frames, generation.animation, readers, stem.parent) as played:
        files = _write(generation, video, stem, formats, played)
        _upload(generation, video, files, keep)
        moving = stand_in(files, partial(_write, generation, video, played=played))
    picture = video.frames[0].copy()
    picture.already_saved_as = str(moving)
    picture.plays = playing.entry(moving, files, played[1])
    return [picture]


def stand_in(files: Mapping[str, Path], write: Callable[[Path, set[str]], dict[str, Path]]) -> Path:
    """What moves in the gallery for a clip: one of its files, or else a WebP that is made for it."""
    moving = [files[name] for name in _SHOWN_BY_A_BROWSER if name in files]
    return moving[0] if moving else write(preview_stem(), {"WEBP"})["WEBP"]


class FilePicture(Image):
    """The first frame to other scripts, such as the XYZ plot; a whole file to the WebUI's API.

    The API saves every picture into memory to make base64 of it. This one then writes the file that it stands for.
    """

    content: bytes

    @classmethod
    def of(cls, frame: Image, file: Path) -> FilePicture:
        picture = frame.convert("RGB")  # which the WebUI would do itself to one with alpha, and get a plain picture
        picture.__class__ = cls  # Pillow has no way to make a picture of a class of one's own from another one
        picture.content = file.read_bytes()
        return picture

    def save(self, fp, *args, **kwargs) -> None:
        if isinstance(fp, io.BytesIO):
            fp.write(self.content)
        else:
            super().save(fp, *args, **kwargs)


def _answer_api(generation: Generation, video: Video) -> list[Image]:
    """The files, then single frames if they were asked for or if there is nothing else to return."""
    keep = _is_kept(generation, video)
    formats = _formats(generation, keep)
    if not keep:
        formats &= {*RETURNED}
    single = {"Frame"} & {*generation.animation.output.formats}
    with (
        nullcontext(_stem(generation, video)) if keep else stem_for_now() as stem,
        made_once(video.frames, generation.animation, formats | single, stem.parent) as played,
    ):
        files = _write(generation, video, stem, formats, played)
        _upload(generation, video, files, keep)
        answer: list[Image] = [FilePicture.of(video.frames[0], files[name]) for name in RETURNED if name in files]
        if single:
            return answer + _singles(video, played[0])
    return answer or _singles(video, video.frames)


def _singles(video: Video, frames: Iterable[Frame]) -> list[Image]:
    """Copies that say how the video was made; the WebUI wrote into each frame how a still of its seed is."""
    about = {"parameters": video.infotext} if shared.opts.enable_pnginfo else {}
    singles = []
    for frame in frames:
        single = frame.copy() if isinstance(frame, Image) else fromarray(frame)
        single.info.update(about)
        singles.append(single)
    return singles


def _hand_over(generation: Generation, video: Video) -> list[Image]:
    """To another extension that had this animation made: frames, unless it wants a file that moves, as the old
    extension left them where they were. Replacer pastes them into its own video."""
    if {*RETURNED} & {*generation.animation.output.formats}:
        return _fill_gallery(generation, video)
    keep = _is_kept(generation, video)
    if keep:
        _write(generation, video, _stem(generation, video), _formats(generation, keep))
    return video.frames


def _is_kept(generation: Generation, video: Video) -> bool:
    return generation.keep_files() and (video.complete or shared.opts.save_incomplete_images)


def _formats(generation: Generation, keep: bool) -> set[str]:
    """The files to write. Frames that the WebUI saves itself, or that nobody keeps, are none of them."""
    formats = {name for name in generation.animation.output.formats if name in FILE_ORDER}
    return formats if keep and shared.opts.animatediff_save_to_custom else formats - {"PNG"}


def _write(
    generation: Generation,
    video: Video,
    stem: Path,
    formats: set[str],
    played: tuple[Frames, float] | None = None,
) -> dict[str, Path]:
    return save_animation(
        video.frames,
        stem,
        generation.animation,
        comment=video.infotext,
        embedded=shared.opts.enable_pnginfo,
        formats=formats,
        options=encode_options(),
        say=video.say,
        played=played,
    )


def _stem(generation: Generation, video: Video) -> Path:
    named = names.Named(
        number=video.number,
        seed=video.seed,
        prompt=video.prompt,
        picture=video.frames[0],
        request_id=generation.animation.output.request_id,
    )
    return names.new_stem(generation.p, named)


def _is_uploaded(video: Video) -> bool:
    """What was cut short only if the user wants that kept."""
    return shared.opts.animatediff_s3_enable and (video.complete or shared.opts.save_incomplete_images)


def _upload(generation: Generation, video: Video, files: dict[str, Path], keep: bool) -> None:
    """To the bucket of the settings."""
    p = generation.p
    if _is_uploaded(video):
        request = generation.animation.output.request_id
        upload_videos(files, name_below(names.root(p)) if keep else name_for_now(video.seed, request), video.say)
