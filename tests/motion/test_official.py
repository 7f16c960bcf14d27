"""One motion module against the official implementation."""

import pytest
import torch
from einops import rearrange

from animatediff_ext.motion import MotionModule
from animatediff_ext.motion.positions import sinusoids
from tests.models.golden import fill_by_name, golden_cases, relative_error
from tests.models.motion import motion_config


@pytest.mark.parametrize(("case", "num_positions"), [("module.c64.L24.b1f24", 24), ("module.c64.L32.b3f5", 32)])
def test_a_module_gives_the_official_numbers(case, num_positions):
    golden = golden_cases()
    module = fill_by_name(MotionModule(64, motion_config("v3", num_positions=num_positions)))
    x, y = golden[f"{case}.x"], golden[f"{case}.y"]
    with torch.no_grad():
        out = module(rearrange(x, "b c f h w -> (b f) c h w"), x.shape[2])
    assert relative_error(rearrange(out, "(b f) c h w -> b c f h w", f=x.shape[2]), y) < 1e-5


def test_position_tables_follow_the_formula():
    table = sinusoids(24, 64)[0]
    for position, channel in [(0, 0), (3, 10), (23, 63)]:
        angle = position * 10_000 ** -(2 * (channel // 2) / 64)
        expected = torch.tensor(angle).sin() if channel % 2 == 0 else torch.tensor(angle).cos()
        torch.testing.assert_close(table[position, channel], expected, atol=1e-5, rtol=1e-5)
