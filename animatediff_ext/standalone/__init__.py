"""A host on diffusers and transformers, with no WebUI: the spatial (image) model, and animating with it."""

from animatediff_ext.standalone.error import SpatialModelError
from animatediff_ext.standalone.load import load_spatial_model
from animatediff_ext.standalone.sampling import SAMPLERS, animate
from animatediff_ext.standalone.spatial import Conditioning, SpatialModel

__all__ = ["SAMPLERS", "Conditioning", "SpatialModel", "SpatialModelError", "animate", "load_spatial_model"]
