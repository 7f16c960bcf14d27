"""Other extensions whose ways of working a clip cannot follow, and which would spoil it without a word."""

from __future__ import annotations

from animatediff_ext.animate import Session
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


def check_regions(p, session: Session) -> None:
    """Raises where regions would be lost, or be those of other frames (hako-mikan/sd-webui-regional-prompter, of June
    2025)."""
    script = host.script_titled("Regional Prompter", p)
    if not getattr(script, "active", False):
        return
    if script.calc == "Latent":  # it puts the rows of a call into another order, and looks for them there afterwards
        raise AnimateDiffError(
            "Regional Prompter's Generation Mode Latent mixes the frames of a video: set it to Attention."
        )
    if session.num_windows > 1:  # it tells positive and negative rows apart by the number of pictures
        raise AnimateDiffError(
            "Regional Prompter takes all frames of a video at once, and this one is made in windows: set Long clips "
            "(long_clips) to views, or Number of frames to at most Context batch size."
        )
