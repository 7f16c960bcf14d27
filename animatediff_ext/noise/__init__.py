"""Where an animation starts from: latents in, latents out."""

from animatediff_ext.noise import seed_offsets
from animatediff_ext.noise.freeinit import FILTERS, low_pass, noised, refined_noise
from animatediff_ext.noise.image_to_video import between_pictures, keep_shares
from animatediff_ext.noise.kinds import KINDS, mixed, sources_of

__all__ = [
    "FILTERS",
    "KINDS",
    "between_pictures",
    "keep_shares",
    "low_pass",
    "mixed",
    "noised",
    "refined_noise",
    "seed_offsets",
    "sources_of",
]
