"""Random numbers that depend on what they are for, not on what was drawn before.

Every draw has a key, such as (seed, number of the sample in the run, "noise"). So a run does not depend on the number
of processes, and goes on after a stop as if there had been none.
"""

from __future__ import annotations

import hashlib

import torch


def generator(*key: int | str) -> torch.Generator:
    """A generator on the CPU for this key. The same key gives the same numbers, on every machine."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def chance(probability: float, *key: int | str) -> bool:
    """True in a share of ``probability`` of all keys."""
    return torch.rand((), generator=generator(*key), dtype=torch.float64).item() < probability
