"""Memory does not grow with the number of frames. Each case has a process of its own, since the peak never falls.

Linux only: ``resource.getrusage`` would do elsewhere, but it starts at the peak of the process that forked this one.
"""

from pathlib import Path

import pytest

from tests.command_line import python

STATUS = Path("/proc/self/status")
pytestmark = pytest.mark.skipif(not STATUS.exists(), reason="peak memory is read the way of Linux")

NUM_FRAMES = (90, 90, 570)  # 90 is more than any encoder looks ahead; the first run warms up the allocator
HEIGHT, WIDTH = 128, 128
KEPT_KB = (NUM_FRAMES[-1] - NUM_FRAMES[0]) * HEIGHT * WIDTH * 3 // 1024
"""How much more the longer clip would need if its frames were kept."""

PROGRAM = r"""
import re, sys
from pathlib import Path
import numpy as np
from animatediff_ext.media import ENDINGS, WRITERS, EncodeOptions, interpolated, kept, read_frames

class Clip:
    def __init__(self, num_frames, height, width):
        self.num_frames, self.shape = num_frames, (height, width, 3)
    def __iter__(self):
        frame = np.zeros(self.shape, np.uint8)
        frame[..., 0] = np.arange(self.shape[1])
        for index in range(self.num_frames):
            yield np.roll(frame, index, axis=1)

folder, what, height, width, *numbers = sys.argv[1:]
for number in map(int, numbers):
    clip = Clip(number, int(height), int(width))
    {work}
    print(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1])
"""

WRITE = "WRITERS[what](clip, Path(folder) / f'clip{ENDINGS[what]}', fps=8, comment='x')"
TWO_PASSES = "WRITERS[what](clip, Path(folder) / 'a.gif', fps=8, options=EncodeOptions(gif_palette='clip'))"
READ = "path = " + WRITE + "\n    for frame in read_frames(path): pass"
INTERPOLATE = "for frame in interpolated(clip, fps=8, factor=2): pass"
ON_THE_DISK = (
    "with kept(clip, Path(folder), most_bytes=2**20) as again:\n"
    "        for number in range(2):\n"
    "            for frame in again: pass"
)
KEEP = "kept = list(clip)"


def growth_kb(work: str, what: str, folder: Path) -> int:
    program = PROGRAM.replace("{work}", work)
    numbers = [HEIGHT, WIDTH, *NUM_FRAMES]
    done = python("-c", program, folder, what, *numbers)
    _, short, long = map(int, done.stdout.split())
    return long - short


@pytest.mark.parametrize(
    ("work", "what"),
    [
        (READ, "GIF"),
        (TWO_PASSES, "GIF"),
        (READ, "MP4"),
        (READ, "WEBM"),
        (READ, "WEBP"),
        (READ, "PNG"),
        (INTERPOLATE, ""),
        (ON_THE_DISK, ""),
    ],
    ids=["GIF", "GIF in two passes", "MP4", "WEBM", "WEBP", "PNG", "interpolation", "frames made once"],
)
def test_writing_and_reading_need_no_more_memory_for_a_longer_clip(tmp_path, work, what):
    assert growth_kb(work, what, tmp_path) < KEPT_KB / 3


def test_the_measure_above_sees_frames_that_are_kept(tmp_path):
    assert growth_kb(KEEP, "", tmp_path) > KEPT_KB * 0.8
