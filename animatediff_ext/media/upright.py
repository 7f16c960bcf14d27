"""Frames of videos and photographs as players show them, turned as the file says: h height, w width, RGB."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

_HD_HEIGHT = 720


def upright(frame) -> np.ndarray:
    """A decoded frame → uint8 ``h w 3``, turned as players turn it: phones film sideways and note the angle."""
    rgb = _rgb_of(frame)
    quarters = round(getattr(frame, "rotation", 0) / 90)  # PyAV 12 does not tell
    return np.ascontiguousarray(np.rot90(rgb, quarters)) if quarters else rgb


def upright_picture(picture: Image.Image) -> Image.Image:
    """A photograph as its EXIF block says that it was taken: cameras note the angle, as phones do."""
    try:
        return ImageOps.exif_transpose(picture)
    except SyntaxError:  # what Pillow says of a block that is none; a damaged picture says it again when it is read
        return picture


def upright_rgb(picture: Image.Image) -> np.ndarray:
    """A picture → uint8 ``h w 3``, as it is seen on white: what is transparent has any colour."""
    picture = upright_picture(picture)
    if picture.mode.startswith("I"):  # grey of 16 bits; Pillow would cut it off at 255
        return np.repeat((np.asarray(picture) // 257).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.array(picture.convert("RGB"))


def _rgb_of(frame) -> np.ndarray:
    """With the matrix that the file names; where it names none, by height as players do."""
    from av.video.reformatter import ColorRange, Colorspace

    # Rec. ITU-T H.273: 1 is BT.709, 2 is "unspecified", 5 and 6 are BT.601, 7 is SMPTE 240M
    unnamed = Colorspace.ITU709 if frame.height >= _HD_HEIGHT else Colorspace.ITU601
    matrices = {1: Colorspace.ITU709, 5: Colorspace.ITU601, 6: Colorspace.ITU601, 7: Colorspace.SMPTE240M}
    full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    matrix = matrices.get(int(frame.colorspace), unnamed)
    return frame.reformat(
        format="rgb24",
        src_colorspace=matrix,
        dst_colorspace=matrix,
        src_color_range=ColorRange.JPEG if full or frame.format.is_rgb else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
    ).to_ndarray()
