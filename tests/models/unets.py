"""Small UNets of both structures and both layouts, with the weights of the golden cases."""

from diffusers import UNet2DConditionModel

from tests.models.golden import fill_by_name
from tests.models.ldm_unet import UNetModel, diffusers_name


def diffusers_unet() -> UNet2DConditionModel:
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64, 64, 64),
        layers_per_block=2,
        cross_attention_dim=32,
        attention_head_dim=8,
        norm_num_groups=32,
    )
    return fill_by_name(unet)


def ldm_unet() -> UNetModel:
    return fill_by_name(UNetModel(), rename=diffusers_name)


def diffusers_sdxl_unet() -> UNet2DConditionModel:
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64, 96),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=8,
        norm_num_groups=32,
    )
    return fill_by_name(unet)


def ldm_sdxl_unet() -> UNetModel:
    return fill_by_name(UNetModel(widths=(32, 64, 96), attention=(False, True, True)), rename=diffusers_name)
