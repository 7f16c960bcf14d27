"""What keeps the noises of one clip apart: each is added to its seed, in every host."""

COMMON = 0xC033_0000
"""Of the noise that all frames have in common, apart from that of each."""
PICTURE = 0x5EED_0000
"""Of the noise that is mixed into pictures to start from, apart from the noise that sampling starts with."""
FRESH = 0xF2EE_0000
"""Of the fresh noise of FreeInit's rounds 1, 2, … (so many times this), apart from that of other clips."""
