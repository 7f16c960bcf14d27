from dataclasses import dataclass
from typing import Any

from modules import errors

callback_map: dict[str, list] = {
    name: []
    for name in ("ui_settings", "cfg_denoiser", "infotext_pasted", "before_ui", "app_started", "script_unloaded")
}


def on_ui_settings(callback):
    callback_map["ui_settings"].append(callback)


def on_cfg_denoiser(callback):
    callback_map["cfg_denoiser"].append(callback)


def on_before_ui(callback):
    callback_map["before_ui"].append(callback)


def on_app_started(callback):
    callback_map["app_started"].append(callback)


def on_script_unloaded(callback):
    callback_map["script_unloaded"].append(callback)


def on_infotext_pasted(callback):
    callback_map["infotext_pasted"].append(callback)


def remove_callbacks_for_function(function):
    for callbacks in callback_map.values():
        callbacks[:] = [callback for callback in callbacks if callback != function]


def call(kind, *args):
    for callback in callback_map[kind]:
        try:
            callback(*args)
        except Exception as problem:
            errors.report(problem)


@dataclass
class CFGDenoiserParams:
    x: Any
    image_cond: Any
    sigma: Any
    text_cond: Any
    text_uncond: Any
    denoiser: Any
