import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from animatediff_ext.media import MediaError
from animatediff_ext.trainer.config import Data
from animatediff_ext.trainer.data import Bucket, Take, find_clips, look_at, pixels_of
from tests.media.numbered import number_in, numbered_frame, numbers_in, write_numbered

from .clips import SAMPLE, plan_of, write_folder


def take_of(path, bucket, frames, flip=False) -> Take:
    ((clip, *_),) = look_at(find_clips(Data(path=str(path), caption="c")), [bucket], SAMPLE).buckets.values()
    return Take(clip=clip, bucket=bucket, frames=frames, flip=flip, index=0)


def numbers(pixels: torch.Tensor) -> list[int]:
    return numbers_in(pixels.permute(0, 2, 3, 1).numpy())


def test_the_planned_frames_are_what_is_read(tmp_path):
    """Stride, start and order, on clips whose pixels say the number of their frame."""
    plan = plan_of(write_folder(tmp_path, 3, num_frames=20))
    for step in range(20):
        for take in plan.takes(step):
            pixels = pixels_of(take)
            assert (pixels.dtype, pixels.shape) == (torch.uint8, (4, 3, 64, 64))
            pixels = pixels.flip(-1) if take.flip else pixels
            assert numbers(pixels) == list(take.frames)
            assert all(b - a == 2 for a, b in zip(take.frames, take.frames[1:], strict=False))


def test_a_mirrored_take_is_the_other_one_mirrored(tmp_path):
    write_numbered(tmp_path / "a.mp4", 8)
    straight, mirrored = (pixels_of(take_of(tmp_path, Bucket(64, 64, 2), (0, 5), flip)) for flip in (False, True))
    torch.testing.assert_close(mirrored, straight.flip(-1), rtol=0, atol=0)
    assert mirrored.is_contiguous()


@pytest.mark.parametrize("size", [(192, 128), (128, 192), (300, 128), (64, 64), (50, 40)])
def test_the_middle_is_cut_out_of_the_resized_picture(tmp_path, size):
    width, height = size
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))
    picture = picture.resize((width // 2, height // 2)).resize(size)
    picture.save(tmp_path / "a.png")
    pixels = pixels_of(take_of(tmp_path, Bucket(64, 128, 1), (0,)))[0].permute(1, 2, 0).numpy()
    scale = max(64 / width, 128 / height)
    covering = max(64, round(width * scale)), max(128, round(height * scale))
    left, top = (covering[0] - 64) // 2, (covering[1] - 128) // 2
    resized = picture.resize(covering, Image.Resampling.BICUBIC).crop((left, top, left + 64, top + 128))
    assert pixels.shape == (128, 64, 3)
    assert np.abs(pixels.astype(int) - np.array(resized)).max() <= 1


def test_a_picture_of_the_right_size_is_untouched(tmp_path):
    Image.fromarray(numbered_frame(9)).save(tmp_path / "a.png")
    pixels = pixels_of(take_of(tmp_path, Bucket(64, 64, 1), (0,)))
    np.testing.assert_array_equal(pixels[0].permute(1, 2, 0), numbered_frame(9))


def test_a_clip_in_a_tar_is_read_where_it_lies(tmp_path):
    video = write_numbered(tmp_path / "v.mp4", 9).read_bytes()
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for name, content in {"0.txt": b"x", "0.mp4": b"no clip", "1.mp4": video}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    take = take_of(tmp_path / "t.tar", Bucket(64, 64, 2), (3, 8))
    assert take.clip.name == "t.tar/1.mp4"
    assert numbers(pixels_of(take)) == [3, 8]
    (tmp_path / "t.tar").write_bytes(b"short")
    with pytest.raises(MediaError, match="ends before its clip does"):
        pixels_of(take)


def test_large_pictures_are_cut_one_by_one(tmp_path):
    write_numbered(tmp_path / "a.mp4", 3, size=(640, 480))
    pixels = pixels_of(take_of(tmp_path, Bucket(64, 64, 2), (0, 2)))
    assert pixels.shape == (2, 3, 64, 64)
    assert number_in(pixels[0].permute(1, 2, 0).numpy()) == 0
