"""A host on diffusers and transformers, with no WebUI: the spatial (image) model, and animating with it.

The names below are imported when they are asked for: the command line reads its options here, and help needs no torch.
"""

from importlib import import_module

_HOME = {
    "Conditioning": "spatial",
    "SAMPLERS": "samplers",
    "SpatialModel": "spatial",
    "SpatialModelError": "error",
    "Start": "sampling",
    "animate": "sampling",
    "load_spatial_model": "load",
}

__all__ = ["SAMPLERS", "Conditioning", "SpatialModel", "SpatialModelError", "Start", "animate", "load_spatial_model"]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
