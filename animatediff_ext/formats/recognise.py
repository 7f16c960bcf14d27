"""How large a motion module is: the configuration that the names and shapes in its file imply."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import torch

from animatediff_ext.formats.container import TensorFile
from animatediff_ext.formats.error import FormatError
from animatediff_ext.formats.family import Clues, family_of
from animatediff_ext.formats.spelling import State, motion_names, official, site_of, tail_of
from animatediff_ext.motion import FAMILIES, MotionConfig, MotionModel

HEADS_KEY = "animatediff_num_heads"
GROUPS_KEY = "animatediff_num_groups"
"""Keys of our exports' metadata, for sizes that tensors cannot tell."""

PositionsFrom = Literal["file", "formula"]


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """A motion module as its file describes it."""

    config: MotionConfig
    names: dict[str, str]
    """Short name → name in the file; `official` makes the short names official."""
    positions_from: PositionsFrom


def recognise(file: TensorFile, family: str | None) -> Recognised:
    """The configuration of a motion module's file. Reads no tensor.

    Raises `FormatError` where the file contradicts itself or leaves the family open, `ValueError` for a ``family``
    that does not exist.
    """
    if family is not None and family not in FAMILIES:
        raise ValueError(f"There is no family {family!r} of motion modules; there are {', '.join(FAMILIES)}.")
    names = _one_set(file)
    state = official({short: file.layout[full] for short, full in names.items()})
    down, mid, up = _channels(file, state)
    in_file = _table_length(file, state)
    num_positions = in_file or _stated_length(file)
    clues = Clues(names=names, num_down=len(down), has_middle=bool(mid), num_positions=num_positions)
    row = family_of(file, clues, family)
    config = MotionConfig(
        family=row,
        down_channels=down,
        mid_channels=mid[0] if mid else (),
        up_channels=up,
        num_positions=num_positions or row.num_positions,
        num_attentions=_highest(state, r"\.attention_blocks\.(\d{1,3})\.") + 1,
        num_layers=_highest(state, r"\.transformer_blocks\.(\d{1,3})\.") + 1,
        **_heads_and_groups(file),
    )
    _check(file, state, config)
    return Recognised(config=config, names=names, positions_from="file" if in_file else "formula")


def _one_set(file: TensorFile) -> dict[str, str]:
    sets = motion_names(file.layout)
    if len(sets) == 1:
        return next(iter(sets.values()))
    prefixes = ", ".join(repr(prefix) for prefix in sets)
    raise FormatError.about(
        file.path,
        f"holds {len(sets)} sets of motion modules, under the names {prefixes}: save the one that you want alone."
        if sets
        else "names its motion modules in a way that is not known here: get the official or the diffusers version.",
    )


def _channels(file: TensorFile, state: State) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """``(down, mid, up)``: for each block the channels of each of its modules."""
    sites: dict[str, int] = {}
    for name, tensor in state.items():
        if tail_of(name).startswith(("norm.", "proj_in.", "proj_out.")) and tensor.ndim:
            sites.setdefault(site_of(name), tensor.shape[0])
    return tuple(_blocks(file, sites, kind) for kind in ("down_blocks", "mid_block", "up_blocks"))


def _blocks(file: TensorFile, sites: dict[str, int], kind: str) -> tuple[tuple[int, ...], ...]:
    blocks: dict[int, dict[int, int]] = {}
    for site, channels in sites.items():
        block, _, module = site.partition(".motion_modules.")
        if block.startswith(kind):
            _, _, number = block.partition(".")
            blocks.setdefault(int(number or 0), {})[int(module)] = channels
    for numbers in (blocks, *blocks.values()):
        if sorted(numbers) != list(range(len(numbers))):
            have = ", ".join(str(number) for number in sorted(numbers))
            raise FormatError.about(
                file.path, f"has gaps: of {kind} it has the numbers {have} only. Download it again."
            )
    return tuple(tuple(blocks[i][j] for j in sorted(blocks[i])) for i in sorted(blocks))


def _table_length(file: TensorFile, state: State) -> int | None:
    """Length of the position table, or None where the file leaves it to the formula."""
    shapes = {tuple(tensor.shape) for name, tensor in state.items() if name.endswith("pos_encoder.pe")}
    lengths = {shape[1] if len(shape) == 3 else None for shape in shapes}
    if len(lengths) > 1 or None in lengths:
        raise FormatError.about(
            file.path,
            f"has position tables of the shapes {sorted(shapes)}; one length for all was expected, as 1 x frames x "
            "channels.",
        )
    return lengths.pop() if lengths else None


def _stated_length(file: TensorFile) -> int | None:
    """What a diffusers folder says about the position table that its file leaves out."""
    length = file.config.get("motion_max_seq_length")
    if length is None or (type(length) is int and 0 < length <= 4096):
        return length
    raise FormatError.about(
        file.path, f"has motion_max_seq_length {length!r} in its config.json; a number was expected."
    )


def _highest(state: State, pattern: str) -> int:
    found = (re.search(pattern, name) for name in state)
    return min(max((int(match[1]) for match in found if match), default=0), len(state))


def _heads_and_groups(file: TensorFile) -> dict[str, int]:
    """What no tensor tells: our metadata, else diffusers' config.json, else the numbers that every family has."""
    heads = file.metadata.get(HEADS_KEY) or _same(file, file.config.get("motion_num_attention_heads", 8))
    norm = file.config.get("motion_norm_num_groups", file.config.get("norm_num_groups", 32))
    groups = file.metadata.get(GROUPS_KEY) or norm
    if not all(re.fullmatch(r"[1-9]\d{0,3}", str(number)) for number in (heads, groups)):
        raise FormatError.about(
            file.path, f"says it has {heads} attention heads and {groups} norm groups; that cannot be."
        )
    return {"num_heads": int(heads), "num_groups": int(groups)}


def _same(file: TensorFile, heads: Any) -> Any:
    """diffusers may give one number for each block; only equal ones are supported, since only such exist."""
    numbers = set(heads) if isinstance(heads, list) else {heads}
    if len(numbers) > 1:
        raise FormatError.about(
            file.path, f"has different numbers of attention heads ({heads}), which is not supported."
        )
    return numbers.pop() if numbers else None


def _check(file: TensorFile, state: State, config: MotionConfig) -> None:
    """Every weight there, none too many, each in its shape."""
    odd = [c for c in config.sites().values() if c % config.num_groups or c % config.num_heads]
    if odd:
        raise FormatError.about(
            file.path,
            f"has modules of {odd[0]} channels, which {config.num_groups} norm groups and {config.num_heads} heads do "
            "not divide.",
        )
    expected = _expected(config)
    tables = {name for name in expected if name.endswith("pos_encoder.pe")}
    if not any(name in state for name in tables):
        expected = {name: shape for name, shape in expected.items() if name not in tables}
    shared = expected.keys() & state.keys()
    wrong = [name for name in expected if name in shared and expected[name] != state[name].shape]
    for names, problem in (
        ([name for name in expected if name not in state], "are missing"),
        ([name for name in state if name not in expected], "are of no known use"),
        (wrong, "have a shape that does not fit the others"),
    ):
        if names:
            raise FormatError.about(
                file.path,
                f"is inconsistent: of the {len(expected)} tensors of its motion modules {len(names)} {problem} "
                f"({', '.join(names[:3])}{' …' if len(names) > 3 else ''}). Download it again.",
            )


@lru_cache(maxsize=32)  # pages list many files of few layouts
def _expected(config: MotionConfig) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in MotionModel(config).state_dict().items()}
