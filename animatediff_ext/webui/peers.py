"""Other extensions whose ways of working a clip cannot follow, and which would spoil it without a word."""

from __future__ import annotations

from animatediff_ext.webui import host
from animatediff_ext.webui.errors import AnimateDiffError


def check_seeds(p, num_frames: int) -> None:
    """Raises where a list of prompts for single pictures would be dealt out as frames of a few videos."""
    if len(p.seeds) == num_frames and not _dynamic_prompts_combine(p):
        return
    raise AnimateDiffError(
        f"{len(p.all_seeds)} prompts and seeds for single pictures came where a video has {num_frames} frames, as "
        "Dynamic Prompts makes them: switch its Combinatorial generation off, and set Batch count to the number of "
        "videos, or use the script Prompt matrix, which gives a video for each prompt."
    )


def _dynamic_prompts_combine(p) -> bool:
    """adieyal/sd-dynamic-prompts, at 2.17: whether it is on, and *Combinatorial generation* with it."""
    script = host.script_titled("Dynamic Prompts", p)
    return script is not None and all(p.script_args[script.args_from : script.args_from + 2])
