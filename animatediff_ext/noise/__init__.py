"""Where an animation starts from: latents in, latents out."""

from animatediff_ext.noise.image_to_video import between_pictures, keep_shares

__all__ = ["between_pictures", "keep_shares"]
