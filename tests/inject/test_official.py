"""Whole UNets with injected motion modules against the official 3-D UNet."""

import pytest
import torch
from einops import rearrange

from animatediff_ext.inject import injected
from animatediff_ext.motion import MotionModel
from tests.models.golden import fill_by_name, golden_cases, relative_error
from tests.models.motion import motion_config
from tests.models.unets import diffusers_unet, ldm_unet


@pytest.mark.parametrize("family", ["v1", "v2"])
@pytest.mark.parametrize("make_unet", [diffusers_unet, ldm_unet])
def test_an_injected_unet_gives_the_official_numbers(make_unet, family):
    golden = golden_cases()
    x, y = golden[f"{family}.b2f4.x"], golden[f"{family}.b2f4.y"]
    context = golden[f"{family}.b2f4.context"].repeat_interleave(4, dim=0)
    unet, motion = make_unet(), fill_by_name(MotionModel(motion_config(family)))
    with torch.no_grad(), injected(unet, motion, num_frames=4):
        out = unet(rearrange(x, "b c f h w -> (b f) c h w"), torch.full((8,), 321), context)
    out = out if isinstance(out, torch.Tensor) else out.sample
    assert relative_error(rearrange(out, "(b f) c h w -> b c f h w", f=4), y) < 1e-4
