"""The names under which other extensions import the old extension, for as long as ours is in its place.

The WebUI loads scripts by their files, so that ``scripts.animatediff_utils`` is found only where somebody has put it.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from animatediff_ext.params import VIDEO_FORMATS
from animatediff_ext.webui.argument_object import AnimateDiffProcess
from animatediff_ext.webui.batch import animatediff_i2i_batch
from animatediff_ext.webui.request import argument_of
from animatediff_ext.webui.sparsectrl import MotionModuleType, MotionWrapper

NAMES: dict[str, dict[str, Any]] = {
    # Replacer constructs it; whoever changes an animation may ask for its class
    "scripts.animatediff_ui": {
        "AnimateDiffProcess": AnimateDiffProcess,
        "supported_save_formats": list(VIDEO_FORMATS),
    },
    # ControlNet: batch_hijack.py, controlnet.py
    "scripts.animatediff_utils": {"get_animatediff_arg": argument_of},
    # ControlNet: batch_hijack.py
    "scripts.animatediff_i2ibatch": {"animatediff_i2i_batch": animatediff_i2i_batch},
    # ControlNet: controlnet_sparsectrl.py
    "scripts.animatediff_mm": {"MotionWrapper": MotionWrapper, "MotionModuleType": MotionModuleType},
}
_OURS = "animatediff_ext stands in for it"


def provide() -> None:
    """Let others import these names, in place of what an extension that has been disabled left under them."""
    for name, contents in NAMES.items():
        module = ModuleType(name, _OURS)
        vars(module).update(contents)
        sys.modules[name] = module


def withdraw() -> None:
    """Nobody finds us there any more; what others have put there stays."""
    for name in NAMES:
        if getattr(sys.modules.get(name), "__doc__", None) == _OURS:
            del sys.modules[name]
