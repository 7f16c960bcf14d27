"""MP4 and WebM, by FFmpeg through PyAV."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np

from animatediff_ext.media.comments import clean_comment
from animatediff_ext.media.errors import MediaError
from animatediff_ext.media.files import new_file
from animatediff_ext.media.frames import Frames, padded, rgb_frames
from animatediff_ext.media.options import DEFAULT_OPTIONS, PRESETS, EncodeOptions
from animatediff_ext.media.pyav import has_encoder, load_pyav
from animatediff_ext.media.timing import checked_loops, frame_rate

ENCODERS: dict[str, tuple[str, ...]] = {
    "h264": ("libx264",),
    "h265": ("libx265",),
    "av1": ("libsvtav1", "libaom-av1"),
    "vp9": ("libvpx-vp9",),
}
"""Codec → FFmpeg's encoders for it, the best first."""

_TITLE_LETTERS = 100
_MAX_FPS_OF_SVT = 240
# Speed on the encoders' own scales, for "ultrafast" to "veryslow"; x264 and x265 take the names themselves.
_SVT_PRESETS = dict(zip(PRESETS, ("12", "11", "10", "9", "8", "7", "6", "5", "4"), strict=True))
_AOM_CPU_USED = dict(zip(PRESETS, ("8", "8", "7", "7", "6", "5", "4", "3", "2"), strict=True))


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What one video file is made with."""

    container: str
    encoder: str
    codec_options: dict[str, str]
    container_options: dict[str, str] = field(default_factory=dict)
    tag: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


def write_mp4(
    frames: Frames,
    path: str | os.PathLike,
    *,
    fps: float,
    loops: int = 0,
    comment: str = "",
    options: EncodeOptions = DEFAULT_OPTIONS,
) -> Path:
    """Write an MP4 with its index in front, so that it plays while it loads, and return its path.

    Every frame is kept, at a constant rate. Where a side is odd the last row or column is repeated once, since 4:2:0
    video has one colour for each square of 2×2. The comment becomes the metadata key ``comment``. ``loops`` has no
    place in MP4 and is ignored. Raises ``MediaError``, also where this build of PyAV lacks the encoder.
    """
    rate, _, comment = frame_rate(fps), checked_loops(loops), clean_comment(comment)
    encoder = mp4_encoder(options, rate)
    plan = _Plan(
        container="mp4",
        encoder=encoder,
        codec_options={"crf": str(options.mp4_crf), **_mp4_options(encoder, options)},
        # The clock of the whole file ticks in milliseconds by default, in which most clips do not end exactly.
        container_options={"movflags": "+faststart", "movie_timescale": str(rate.numerator * 1000)},
        tag="hvc1" if options.mp4_codec == "h265" else "",  # Apple's players refuse the default, hev1
        metadata={"comment": comment} if comment else {},
    )
    return _write(frames, path, rate, plan)


def write_webm(
    frames: Frames,
    path: str | os.PathLike,
    *,
    fps: float,
    loops: int = 0,
    comment: str = "",
    options: EncodeOptions = DEFAULT_OPTIONS,
) -> Path:
    """Write a WebM (VP9) and return its path.

    Frames, sides, ``comment``, ``loops`` and errors are as with ``write_mp4``; the title is the comment's first line.
    """
    rate, _, comment = frame_rate(fps), checked_loops(loops), clean_comment(comment)
    plan = _Plan(
        container="webm",
        encoder=encoder_for("vp9", "WEBM"),
        # Constant quality needs a bit rate of zero: https://trac.ffmpeg.org/wiki/Encode/VP9
        codec_options={"crf": "24", "b": "0", "deadline": "good", "cpu-used": "3", "row-mt": "1"},
        metadata={"title": comment.strip().partition("\n")[0][:_TITLE_LETTERS], "comment": comment} if comment else {},
    )
    return _write(frames, path, rate, plan)


def mp4_encoder(options: EncodeOptions, fps: float) -> str:
    """As ``encoder_for``. Also raises ``MediaError`` if the encoder makes no file that plays so fast."""
    encoder = encoder_for(options.mp4_codec, "MP4")
    if encoder == "libsvtav1" and fps > _MAX_FPS_OF_SVT:
        raise MediaError(
            f"The video plays {float(fps):g} frames a second (FPS times Interp X), but MP4 with av1 takes at most "
            f"{_MAX_FPS_OF_SVT}: lower one of the two, or choose another MP4 codec, h264 or h265, or another format."
        )
    return encoder


def encoder_for(codec: str, format: str) -> str:
    """FFmpeg's best encoder for a codec that this build has. Raises ``MediaError`` if it has none."""
    load_pyav(f"Writing {format}")
    for name in ENCODERS[codec]:
        if has_encoder(name):
            return name
    codecs = [other for other in ("h264", "h265", "av1") if any(map(has_encoder, ENCODERS[other]))]
    others = [f"MP4 with {other}" for other in codecs]
    others += ["WEBM"] if any(map(has_encoder, ENCODERS["vp9"])) else []
    others += ["GIF"] if has_encoder("gif") else []
    raise MediaError(
        f"This build of PyAV has no encoder for {codec}, which {format} needs. "
        f"Choose {', '.join([*others, 'WEBP'])} or PNG, or install PyAV from PyPI ('pip install av')."
    )


def _mp4_options(encoder: str, options: EncodeOptions) -> dict[str, str]:
    preset, tune = options.mp4_preset, options.mp4_tune
    if encoder == "libsvtav1":
        return {"preset": _SVT_PRESETS[preset]} if preset else {}
    if encoder == "libaom-av1":
        # Its default speed takes minutes for a second of video.
        return {"cpu-used": _AOM_CPU_USED[preset or "medium"], "row-mt": "1"}
    chosen = {name: value for name, value in (("preset", preset), ("tune", tune)) if value}
    return chosen | ({"x265-params": "log-level=error"} if encoder == "libx265" else {})


def _write(frames: Frames, path: str | os.PathLike, rate: Fraction, plan: _Plan) -> Path:
    av = load_pyav("Writing video")
    with new_file(path) as part:
        pictures = (padded(rgb, multiple=2) for rgb in rgb_frames(frames))
        first = next(pictures)
        # An absolute path: FFmpeg would take the start of "a:b.mp4" for the name of a protocol.
        target = str(part.absolute())
        with av.open(target, "w", format=plan.container, options=plan.container_options) as file:
            file.metadata.update(plan.metadata)
            stream = _stream(file, plan, rate, *first.shape[:2])
            for index, rgb in enumerate(chain([first], pictures)):
                frame = _yuv_frame(av, rgb)
                frame.pts, frame.time_base = index, 1 / rate
                _mux(av, file, stream, frame, plan)
            _mux(av, file, stream, None, plan)
    return Path(path)


def _stream(file, plan: _Plan, rate: Fraction, height: int, width: int):
    stream = file.add_stream(plan.encoder, rate=rate)
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base = 1 / rate
    context.bit_rate = 0  # the quality decides
    context.thread_type = "AUTO"  # PyAV's default, slices, costs x264 a part of its compression
    context.options = plan.codec_options
    # Rec. ITU-T H.273: 1 is BT.709, in all three; a range of 1 is the narrow one. Players guess where nothing is said.
    context.color_primaries = context.color_trc = context.colorspace = context.color_range = 1
    if plan.tag:
        context.codec_tag = plan.tag
    return stream


def _yuv_frame(av, rgb: np.ndarray):
    enums = av.video.reformatter
    return av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
        format="yuv420p",
        src_colorspace=enums.Colorspace.ITU709,
        dst_colorspace=enums.Colorspace.ITU709,
        interpolation=enums.Interpolation.BICUBIC,
        src_color_range=enums.ColorRange.JPEG,
        dst_color_range=enums.ColorRange.MPEG,
    )


def _mux(av, file, stream, frame, plan: _Plan) -> None:
    """Encode ``frame`` (None: what is left) and write what is ready."""
    try:
        packets = stream.encode(frame)
    except av.FFmpegError as error:
        size = f"{stream.codec_context.width}×{stream.codec_context.height}"
        raise MediaError(
            f"The encoder {plan.encoder} refused a video of {size} ({error.strerror}). "
            "Choose another size, fps or codec, or save as GIF, WEBP or PNG."
        ) from error
    file.mux(packets)
