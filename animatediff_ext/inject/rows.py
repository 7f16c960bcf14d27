"""The order of the rows at the UNet's border.

A host calls the UNet with N rows: every frame, once for each of several conditions. A row layout is a table ``(s,
f)`` of row numbers: ``table[i, j]`` is the row with stream ``i`` (a condition) and frame ``j``. Inside the UNet,
rows are always stream-major: the frames of a clip lie next to each other.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from animatediff_ext.motion.constants import constant

RowLayout = Callable[[int], torch.Tensor]
"""``layout(num_rows) -> (s, f) int64``"""


class RowLayoutError(ValueError):
    """A call to the UNet brought rows that are not whole clips."""


def stream_major(num_frames: int) -> RowLayout:
    """All frames of the first stream, then all frames of the second, …"""

    def layout(num_rows: int) -> torch.Tensor:
        _check_whole(num_rows, num_frames)
        return torch.arange(num_rows).view(-1, num_frames)

    return layout


def frame_major(num_frames: int, num_conditions: int) -> RowLayout:
    """All conditions of the first frame, then all conditions of the second, …; streams that follow are stream-major.

    This is how the WebUI lays out prompts with AND: the parts of a prompt lie together, the negative prompt comes last.
    """

    def layout(num_rows: int) -> torch.Tensor:
        head = num_conditions * num_frames
        _check_whole(num_rows, num_frames, least=head)
        mixed = torch.arange(head).view(num_frames, num_conditions).T
        rest = torch.arange(head, num_rows).view(-1, num_frames)
        return torch.cat([mixed, rest])

    return layout


def _check_whole(num_rows: int, num_frames: int, least: int = 1) -> None:
    if num_rows < least or num_rows % num_frames:
        raise RowLayoutError(
            f"The UNet was called with {num_rows} pictures, which are not whole clips of {num_frames} frames: another "
            "extension changes the batch. Turn it off for animations."
        )


def take(value, rows: tuple[int, ...], num_rows: int):
    """Rows of everything in ``value`` that has a row for each of the call's rows: tensors, and containers of them."""
    if isinstance(value, torch.Tensor):
        is_by_row = value.ndim and value.shape[0] == num_rows
        return value[constant(rows, value.device, torch.int64)] if is_by_row else value
    if isinstance(value, dict):
        return {key: take(item, rows, num_rows) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(take(item, rows, num_rows) for item in value)
    return value
