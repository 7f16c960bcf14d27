"""How a prompt goes over into the next: share of the way between two keys → share of the later one."""

from __future__ import annotations

from collections.abc import Callable

EASINGS: dict[str, Callable[[float], float]] = {
    "linear": lambda u: u,
    "smooth": lambda u: u * u * (3 - 2 * u),
    "in": lambda u: u * u,
    "out": lambda u: 1 - (1 - u) ** 2,
    "step": lambda u: 0.0,
}
"""From 0 to less than 1: at 1 the later key is reached, and its own way begins."""
