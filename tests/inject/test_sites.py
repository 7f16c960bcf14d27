import pytest
import torch
from torch import nn

from animatediff_ext.inject import MisfitError, injected, misfit, sites_of
from tests.models.ldm_unet import UNetModel
from tests.models.motion import motion_config, random_motion
from tests.models.unets import diffusers_sdxl_unet, diffusers_unet, ldm_sdxl_unet, ldm_unet


@pytest.mark.parametrize(("a", "b"), [(diffusers_unet, ldm_unet), (diffusers_sdxl_unet, ldm_sdxl_unet)])
def test_both_structures_have_the_same_places(a, b):
    names = [[(site.name, site.channels) for site in sites_of(make())] for make in (a, b)]
    assert names[0] == names[1]


def test_places_in_an_sd15_unet_are_the_official_ones():
    unet = UNetModel()
    places = {site.name: site.layer for site in sites_of(unet)}
    blocks = {
        f"{side}.{index}": block
        for side in ("input_blocks", "output_blocks")
        for index, block in enumerate(getattr(unet, side))
    }
    of_block = {name: key for name, layer in places.items() for key, block in blocks.items() if layer in list(block)}
    down = [f"input_blocks.{i}" for i in (1, 2, 4, 5, 7, 8, 10, 11)]
    up = [f"output_blocks.{i}" for i in range(12)]
    assert [of_block[name] for name in places if name.startswith("down")] == down
    assert [of_block[name] for name in places if name.startswith("up")] == up
    assert places["mid_block.motion_modules.0"] is unet.middle_block[1]
    assert places["up_blocks.0.motion_modules.2"] is unet.output_blocks[2][-2]  # before the Upsample


def test_a_module_for_another_layout_is_refused_with_a_sentence():
    sd, sdxl = motion_config("v3"), motion_config("sdxl-beta", widths=(32, 64, 96))
    assert misfit(ldm_unet(), sd) is None
    assert misfit(diffusers_sdxl_unet(), sdxl) is None
    sentence = misfit(ldm_unet(), sdxl)
    assert "SDXL" in sentence
    assert "3 levels of 32, 64, 96 channels" in sentence
    assert "4 levels of 32, 64 channels" in sentence
    with pytest.raises(MisfitError), injected(ldm_unet(), random_motion(sdxl), num_frames=4):
        pass


def test_a_network_that_is_no_unet_is_refused():
    with pytest.raises(MisfitError, match="Linear"):
        sites_of(nn.Linear(1, 1))
    assert "not a UNet" in misfit(nn.Linear(1, 1), motion_config("v3"))


@pytest.mark.parametrize("family", ["v1", "v2", "v3", "sdxl-beta"])
@pytest.mark.parametrize("structure", ["ldm", "diffusers"])
def test_every_module_of_a_family_acts(family, structure):
    widths = (32, 64, 96) if family == "sdxl-beta" else (32, 64, 64, 64)
    makers = {("ldm", True): ldm_sdxl_unet, ("diffusers", True): diffusers_sdxl_unet}
    makers |= {("ldm", False): ldm_unet, ("diffusers", False): diffusers_unet}
    unet = makers[structure, family == "sdxl-beta"]()
    motion = random_motion(motion_config(family, widths=widths))
    acted = []
    for site in motion.config.sites():
        motion.at(site).register_forward_hook(lambda *_, site=site: acted.append(site))
    with torch.no_grad(), injected(unet, motion, num_frames=3):
        unet(torch.randn(3, 4, 8, 8), torch.full((3,), 10), torch.randn(3, 5, 32))
    assert acted == list(motion.config.sites())
