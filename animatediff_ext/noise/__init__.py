"""Where an animation starts from: latents in, latents out."""

from animatediff_ext.noise.freeinit import FILTERS, low_pass, noised, refined_noise
from animatediff_ext.noise.image_to_video import between_pictures, keep_shares
from animatediff_ext.noise.kinds import COMMON_SEED_OFFSET, KINDS, mixed, sources_of

__all__ = [
    "COMMON_SEED_OFFSET",
    "FILTERS",
    "KINDS",
    "between_pictures",
    "keep_shares",
    "low_pass",
    "mixed",
    "noised",
    "refined_noise",
    "sources_of",
]
