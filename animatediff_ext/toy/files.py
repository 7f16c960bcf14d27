"""The files of the toy world, by name."""

from __future__ import annotations

from pathlib import Path

SHIPPED = Path(__file__).parents[2] / "model" / "toy"
"""Those that come with the project."""
BASE, DUSK = "toy_base.safetensors", "toy_dusk.safetensors"
MOTION, ADAPTER = "toy_motion.safetensors", "toy_adapter.safetensors"
ZOOM, CHALK = "toy_zoom.safetensors", "toy_chalk.safetensors"
FILES = (BASE, DUSK, MOTION, ADAPTER, ZOOM, CHALK)
CLIP_FOLDER = "clip"
"""Beside the checkpoints: the text encoder's configuration and its tokenizer."""
FIGURES = "figures.json"
"""What was measured of them."""
