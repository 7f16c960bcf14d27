from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animatediff_ext.media.timing import frame_rate, start_of


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (8, Fraction(8)),
        (7.5, Fraction(15, 2)),
        (23.976, Fraction(2997, 125)),
        (24000 / 1001, Fraction(24000, 1001)),
        (Fraction(30000, 1001), Fraction(30000, 1001)),
        (np.float32(12.5), Fraction(25, 2)),
        (np.int64(16), Fraction(16)),
        (0.01, Fraction(1, 100)),
        (1000, Fraction(1000)),
    ],
)
def test_a_rate_is_the_ratio_that_was_meant(fps, rate):
    assert frame_rate(fps) == rate


@given(fps=st.floats(0.01, 1000), index=st.integers(0, 100_000), ticks=st.sampled_from([100, 1000]))
def test_a_start_is_within_half_a_tick_of_the_truth_however_long_the_clip(fps, index, ticks):
    rate = frame_rate(fps)
    assert abs(start_of(index, rate, ticks) - index * ticks / rate) <= Fraction(1, 2)
