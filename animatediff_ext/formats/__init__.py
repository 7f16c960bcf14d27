"""Files of motion modules: what they are, their weights in the official names, and back."""

from animatediff_ext.formats.describe import ModuleInfo, describe, sha256, sha256_of_file
from animatediff_ext.formats.error import FormatError
from animatediff_ext.formats.lora_file import LoraFile, load_lora, lora_kind, save_lora
from animatediff_ext.formats.module_file import load_motion_module, save_motion_adapter, save_motion_module
from animatediff_ext.formats.spelling import from_diffusers, from_hotshot, to_diffusers, to_hotshot

__all__ = [
    "FormatError",
    "LoraFile",
    "ModuleInfo",
    "describe",
    "from_diffusers",
    "from_hotshot",
    "load_lora",
    "load_motion_module",
    "lora_kind",
    "save_lora",
    "save_motion_adapter",
    "save_motion_module",
    "sha256",
    "sha256_of_file",
    "to_diffusers",
    "to_hotshot",
]
