"""The sizes of one motion model. They come from the file, never from this code."""

from __future__ import annotations

from dataclasses import dataclass

from animatediff_ext.motion.families import Family


@dataclass(frozen=True, kw_only=True)
class MotionConfig:
    """Where a motion model has modules, and how large they are.

    ``down_channels[i][j]`` is the number of channels of module ``j`` in down block ``i``; ``up_channels`` likewise.
    ``mid_channels`` is empty where the family has no module in the middle block. The number of heads cannot be told
    from the tensors; every family has 8.
    """

    family: Family
    down_channels: tuple[tuple[int, ...], ...]
    mid_channels: tuple[int, ...]
    up_channels: tuple[tuple[int, ...], ...]
    num_positions: int
    num_heads: int = 8
    num_attentions: int = 2
    num_layers: int = 1
    num_groups: int = 32

    def sites(self) -> dict[str, int]:
        """Official name of each module → its channels, in the order in which the UNet reaches them."""
        down = {f"down_blocks.{i}.motion_modules.{j}": c for i, j, c in _walk(self.down_channels)}
        mid = {f"mid_block.motion_modules.{j}": c for j, c in enumerate(self.mid_channels)}
        up = {f"up_blocks.{i}.motion_modules.{j}": c for i, j, c in _walk(self.up_channels)}
        return down | mid | up


def _walk(channels: tuple[tuple[int, ...], ...]):
    for i, block in enumerate(channels):
        for j, c in enumerate(block):
            yield i, j, c
