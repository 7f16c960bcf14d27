"""The names that motion modules' weights go by, and the official ones (guoyww/AnimateDiff) that we keep.

=========  ====================================================================================================
official   down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.to_q.weight
diffusers  down_blocks.0.motion_modules.0.transformer_blocks.0.attn1.to_q.weight
hotshot    down_blocks.0.temporal_attentions.0.transformer_blocks.0.attention_blocks.0.to_q.weight
=========  ====================================================================================================

The functions are pure: they rename, and never touch a tensor.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch

State = dict[str, torch.Tensor]

_NAME = re.compile(
    r"(?P<prefix>^|.*?\.)"  # module., unet., state_dict. … as many as there are
    r"(?P<block>(?:down_blocks|up_blocks)\.\d{1,3}|mid_block)\."
    r"(?P<holder>motion_modules|temporal_attentions)\.(?P<index>\d{1,3})\."
    r"(?P<transformer>temporal_transformer\.)?(?P<tail>.+)"
)


def motion_names(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """The names that belong to motion modules: prefix in the file → short name → full name.

    ``module.unet.down_blocks.0.motion_modules.0.norm.weight`` has the prefix ``module.unet.``. Every other name (the
    image layers of a whole UNet, an optimizer, a counter of steps) is left out.
    """
    found: dict[str, dict[str, str]] = {}
    for name in names:
        match = _NAME.fullmatch(name)
        if match:
            found.setdefault(match["prefix"], {})[name[len(match["prefix"]) :]] = name
    return found


def site_of(name: str) -> str:
    """``down_blocks.0.motion_modules.1``, the module to which a weight belongs."""
    match = _NAME.fullmatch(name)
    return f"{match['block']}.motion_modules.{match['index']}"


def tail_of(name: str) -> str:
    """What a weight is called inside its module, e.g. ``proj_in.weight``."""
    return _NAME.fullmatch(name)["tail"]


def official(state: State) -> State:
    """Any spelling → the official one, which is left as it is."""
    is_diffusers = any(".attn1." in name for name in state)
    return from_diffusers(state) if is_diffusers else from_hotshot(state)


def _official_name(site: str, tail: str) -> str:
    return f"{site}.temporal_transformer.{tail}"


def from_hotshot(state: State) -> State:
    """Names of hotshotco/Hotshot-XL (models/transformer_temporal.py) → official.

    Also right for official names without ``temporal_transformer``, as some converters write them.
    """
    renamed = {_official_name(site_of(name), tail_of(name)): tensor for name, tensor in state.items()}
    return {name.replace(".pos_encoder.positional_encoding", ".pos_encoder.pe"): t for name, t in renamed.items()}


def to_hotshot(state: State) -> State:
    """The inverse of `from_hotshot`."""
    return {
        f"{site_of(name)}.{tail_of(name)}".replace(".motion_modules.", ".temporal_attentions.").replace(
            ".pos_encoder.pe", ".pos_encoder.positional_encoding"
        ): tensor
        for name, tensor in state.items()
    }


# attn1, attn2, norm1, norm2 count from one; norm3 is the norm of the feed-forward
# (diffusers scripts/convert_animatediff_motion_module_to_diffusers.py).
_DIFFUSERS_BLOCK = re.compile(r"(transformer_blocks\.\d+)\.(attn|norm)(\d+)\.(.+)")
_DIFFUSERS_TABLE = re.compile(r"(transformer_blocks\.\d+)\.pos_embed\.pe")
_OFFICIAL_BLOCK = re.compile(r"(transformer_blocks\.\d+)\.(attention_blocks|norms)\.(\d+)\.(.+)")


def from_diffusers(state: State) -> State:
    """Names of diffusers' MotionAdapter → official.

    diffusers has one position table for a block, the official code one for each attention: it is given to all of them.
    """
    num_attentions = _num_attentions_of_diffusers(state)
    renamed: State = {}
    for name, tensor in state.items():
        for tail in _tails_from_diffusers(tail_of(name), num_attentions):
            renamed[_official_name(site_of(name), tail)] = tensor
    return renamed


def _num_attentions_of_diffusers(state: State) -> int:
    numbers = (re.search(r"\.attn(\d+)\.", name) for name in state)
    return max((int(match[1]) for match in numbers if match), default=0)


def _tails_from_diffusers(tail: str, num_attentions: int) -> list[str]:
    if table := _DIFFUSERS_TABLE.fullmatch(tail):
        return [f"{table[1]}.attention_blocks.{k}.pos_encoder.pe" for k in range(num_attentions)]
    if not (match := _DIFFUSERS_BLOCK.fullmatch(tail)):
        return [tail]
    block, layer, number, rest = match.groups()
    if (layer, number) == ("norm", "3"):
        return [f"{block}.ff_norm.{rest}"]
    layers = {"attn": "attention_blocks", "norm": "norms"}[layer]
    return [f"{block}.{layers}.{int(number) - 1}.{rest}"]


def to_diffusers(state: State) -> State:
    """The inverse of `from_diffusers`: what ``MotionAdapter.load_state_dict`` takes.

    Raises `ValueError` for a module with more than two attentions: diffusers has no names for these.
    """
    renamed: State = {}
    for name, tensor in state.items():
        tail = _tail_to_diffusers(tail_of(name))
        renamed.setdefault(f"{site_of(name)}.{tail}", tensor)  # the tables of both attentions are one
    return renamed


def _tail_to_diffusers(tail: str) -> str:
    tail = re.sub(r"^(transformer_blocks\.\d+)\.ff_norm\.", r"\1.norm3.", tail)
    if not (match := _OFFICIAL_BLOCK.fullmatch(tail)):
        return tail
    block, layers, number, rest = match.groups()
    if int(number) > 1:
        raise ValueError(
            f"diffusers has two attentions in a motion module; {tail} is of a third: write it as official."
        )
    if rest == "pos_encoder.pe":
        return f"{block}.pos_embed.pe"
    layer = {"attention_blocks": "attn", "norms": "norm"}[layers]
    return f"{block}.{layer}{int(number) + 1}.{rest}"
