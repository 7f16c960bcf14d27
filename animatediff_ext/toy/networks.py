"""The networks of the toy world, still untrained: Stable Diffusion 1.5's layout, made small.

12 input blocks, a middle block and 12 output blocks; a VAE of factor 8; a CLIP text encoder.
"""

from __future__ import annotations

from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizerFast

from animatediff_ext.motion import NoiseSchedule

WIDTH = 64
"""Channels at every level of the UNet, and of the text."""
UNET_HEADS = 2
"""Of attention. Heads of 8 channels, as SD 1.5 would have them at this width, take three times as long on a CPU."""
NARROW = -6.0
"""Logarithm of the variance."""
LATENT_SCALE = 0.18215
"""Stable Diffusion 1.5's own; the VAE is made to fit it."""

SCHEDULE = NoiseSchedule(kind="scaled_linear", beta_start=0.00085, beta_end=0.03)
"""Of image models and motion modules alike. With SD 1.5's betas 7 % of the signal is left in what training calls pure
noise: little in a still, but the mean over 16 frames of 8x8 latents reads the light of a whole clip from it. Sampling
begins with nothing to be read there, which such a module takes for a light in the middle. Here 0.3 % is left."""


def new_vae() -> AutoencoderKL:
    """Its posterior begins narrow: else it decodes little but noise at first, and colours take long to appear."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=1,
        latent_channels=4,
        scaling_factor=LATENT_SCALE,
    )
    nn.init.constant_(vae.quant_conv.bias[vae.config.latent_channels :], NARROW)
    return vae


def new_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(WIDTH,) * 4,
        layers_per_block=2,
        cross_attention_dim=WIDTH,
        attention_head_dim=UNET_HEADS,  # diffusers' name for the number of heads
    )


def new_text_encoder(tokenizer: CLIPTokenizerFast) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=1,
        projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return CLIPTextModel(config)
