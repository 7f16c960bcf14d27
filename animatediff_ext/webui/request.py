"""The argument object of a request, before its generation has begun and while it runs."""

from __future__ import annotations

from modules.processing import StableDiffusionProcessingImg2Img

from animatediff_ext.params import Animation
from animatediff_ext.setting import SettingsError
from animatediff_ext.webui import arguments, host, xyz
from animatediff_ext.webui.argument_object import AnimateDiffProcess, PageArgument
from animatediff_ext.webui.generation import generation_of


def argument_of(p) -> AnimateDiffProcess | None:
    """What is assigned to it counts for this request. None where AnimateDiff has no part in it, or where its arguments
    are such that it will be refused.

    What the page or the API sent is replaced by the object; of a generation that has begun it is the resolved one.
    """
    running = generation_of(p)
    if running:
        return running.argument.shown
    script = host.script_titled("AnimateDiff", p)
    if script is None:
        return None
    args = list(p.script_args)
    own = args[script.args_from : script.args_to]
    if own and hasattr(own[0], "video_length"):
        return own[0]
    try:
        kind = AnimateDiffProcess if arguments.are_of_a_program(own) else PageArgument
        with host.overrides_in_force(p):  # which formats there are by default
            found = kind.of(_everything(p, own), enable=_animation(p, own).enabled)
    except SettingsError:
        return None
    # It says what dictionaries behind it say as well, and would be outvoted by them.
    args[script.args_from : script.args_to] = [found, *(None if isinstance(arg, dict) else arg for arg in own[1:])]
    p.script_args = args
    return found


def _everything(p, own: list) -> Animation:
    """With AnimateDiff off too, when settings are not looked at otherwise."""
    return _animation(p, own, enable=True)


def _animation(p, own: list, **over) -> Animation:
    is_img2img = isinstance(p, StableDiffusionProcessingImg2Img)
    return arguments.parse(own, is_img2img=is_img2img, over=xyz.values_of(p) | over)[0]
