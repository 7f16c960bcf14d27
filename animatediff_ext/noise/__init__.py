"""Where an animation starts from: latents in, latents out."""

from animatediff_ext.noise.freeinit import FILTERS, low_pass, noised, refined_noise
from animatediff_ext.noise.image_to_video import between_pictures, keep_shares

__all__ = ["FILTERS", "between_pictures", "keep_shares", "low_pass", "noised", "refined_noise"]
