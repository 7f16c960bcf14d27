"""The settings of one animation.

Each setting is named once, where its field is declared: what the API calls it, its label and element id in the page,
its range, its key in infotexts. The page, the API, infotexts and the XYZ plot all read `SETTINGS`, which is made
from that.

API names, labels, defaults and element ids are those of sd-webui-animatediff v2, so that its clients and users keep
working.
"""

from animatediff_ext.params.animation import Animation
from animatediff_ext.params.context import Context
from animatediff_ext.params.free_init import FreeInit
from animatediff_ext.params.image_to_video import ImageToVideo
from animatediff_ext.params.motion import Motion
from animatediff_ext.params.noise import Noise
from animatediff_ext.params.output import API_FORMATS, MAX_FPS, VIDEO_FORMATS, Output
from animatediff_ext.params.source import Source
from animatediff_ext.params.table import SETTINGS, from_api, to_api, value_of

__all__ = [
    "API_FORMATS",
    "MAX_FPS",
    "SETTINGS",
    "VIDEO_FORMATS",
    "Animation",
    "Context",
    "FreeInit",
    "ImageToVideo",
    "Motion",
    "Noise",
    "Output",
    "Source",
    "from_api",
    "to_api",
    "value_of",
]
