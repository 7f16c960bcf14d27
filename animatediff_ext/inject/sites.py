"""Where motion modules go.

One rule finds every place, in LDM's UNets (``input_blocks``, ``middle_block``, ``output_blocks``) as in diffusers'
(``down_blocks``, ``mid_block``, ``up_blocks``): *after the last attention block of a layer, or after its ResBlock
where it has none*. An Upsample that follows in the same block therefore comes after the motion module, and in the
middle block the second ResBlock does. Names are those of the official code, which are diffusers' names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from animatediff_ext.motion import MotionConfig


class MisfitError(ValueError):
    """The motion module was made for another kind of UNet."""


@dataclass(frozen=True)
class Site:
    """A motion module named ``name`` with ``channels`` channels belongs behind ``layer``."""

    name: str
    layer: nn.Module
    channels: int


def sites_of(unet: nn.Module) -> list[Site]:
    """All places for motion modules in a UNet, the middle block included, in the order of the forward pass."""
    if hasattr(unet, "input_blocks") and hasattr(unet, "output_blocks"):
        return list(_ldm_sites(unet))
    if hasattr(unet, "down_blocks") and hasattr(unet, "up_blocks"):
        return list(_diffusers_sites(unet))
    raise MisfitError(
        f"The model's network ({type(unet).__name__}) is not a UNet that AnimateDiff knows: "
        "load a Stable Diffusion 1.5 or SDXL checkpoint."
    )


def misfit(unet: nn.Module, config: MotionConfig) -> str | None:
    """Why this motion module cannot go into this UNet, in one sentence; None if it can."""
    try:
        there = {site.name: site.channels for site in sites_of(unet)}
    except MisfitError as problem:
        return str(problem)
    wanted = config.sites()
    optional = {name for name in there if name.startswith("mid_block.")} - set(wanted)
    there = {name: channels for name, channels in there.items() if name not in optional}
    if there == wanted:
        return None
    made_for, given = _KINDS.get(_shape(wanted)), _KINDS.get(_shape(there))
    if made_for and given and made_for != given:
        return (
            f"The motion module ({config.family.title}) was made for {made_for}, but the loaded checkpoint is of "
            f"{given}: choose a motion module for {given}, or a checkpoint of {made_for}."
        )
    return (
        f"The motion module ({config.family.title}) was made for {_shape(wanted)}, but the loaded checkpoint's UNet "
        f"has {_shape(there)}: choose a motion module for this checkpoint, or a checkpoint for {config.family.base}."
    )


_KINDS = {"4 levels of 320, 640, 1280 channels": "SD 1.5", "3 levels of 320, 640, 1280 channels": "SDXL"}
"""Of UNets that motion modules are published for, by their shape."""


def _shape(sites: dict[str, int]) -> str:
    down = [name.split(".")[1] for name in sites if name.startswith("down_blocks.")]
    widths = list(dict.fromkeys(channels for name, channels in sites.items() if name.startswith("down_blocks.")))
    return f"{len(set(down))} levels of {', '.join(map(str, widths))} channels"


def _ldm_sites(unet: nn.Module) -> Iterator[Site]:
    level, place = 0, 0
    for block in list(unet.input_blocks)[1:]:  # the first one is the input convolution
        layer = _last_layer(block)
        if layer is None:  # a Downsample ends a level
            level, place = level + 1, 0
        else:
            yield Site(f"down_blocks.{level}.motion_modules.{place}", layer, _channels(block))
            place += 1
    yield Site("mid_block.motion_modules.0", _last_layer(unet.middle_block), _channels(unet.middle_block))
    level, place = 0, 0
    for block in unet.output_blocks:
        layer = _last_layer(block)
        yield Site(f"up_blocks.{level}.motion_modules.{place}", layer, _channels(block))
        place += 1
        if not (_is_resblock(block[-1]) or _is_attention(block[-1])):  # an Upsample ends a level
            level, place = level + 1, 0


def _last_layer(block: nn.Module) -> nn.Module | None:
    attentions = [child for child in block if _is_attention(child)]
    resblocks = [child for child in block if _is_resblock(child)]
    return attentions[-1] if attentions else resblocks[-1] if resblocks else None


def _channels(block: nn.Module) -> int:
    return next(child.out_channels for child in block if _is_resblock(child))


def _is_resblock(module: nn.Module) -> bool:
    # `updown` marks a ResBlock that stands in for a Downsample or an Upsample (LDM's resblock_updown)
    return hasattr(module, "in_layers") and hasattr(module, "out_layers") and not getattr(module, "updown", False)


def _is_attention(module: nn.Module) -> bool:
    return hasattr(module, "transformer_blocks") or hasattr(module, "qkv")


def _diffusers_sites(unet: nn.Module) -> Iterator[Site]:
    for level, block in enumerate(unet.down_blocks):
        for place, (layer, channels) in enumerate(_diffusers_layers(block)):
            yield Site(f"down_blocks.{level}.motion_modules.{place}", layer, channels)
    layer, channels = next(_diffusers_layers(unet.mid_block))
    yield Site("mid_block.motion_modules.0", layer, channels)
    for level, block in enumerate(unet.up_blocks):
        for place, (layer, channels) in enumerate(_diffusers_layers(block)):
            yield Site(f"up_blocks.{level}.motion_modules.{place}", layer, channels)


def _diffusers_layers(block: nn.Module) -> Iterator[tuple[nn.Module, int]]:
    attentions = getattr(block, "attentions", None) or ()
    for place, resnet in enumerate(block.resnets):
        yield (attentions[place] if place < len(attentions) else resnet), resnet.out_channels
