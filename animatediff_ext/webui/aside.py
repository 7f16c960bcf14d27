"""What is left of this extension while the one that it replaces is active too: a word in the page."""

from __future__ import annotations

import gradio as gr


def title(twin: str) -> str:
    """Of the script: requests for *AnimateDiff* are to reach the other one."""
    return f"AnimateDiff (inactive: {twin} is enabled)"


def notice(twin: str) -> None:
    """In place of our fields, whose names the page has already."""
    with gr.Accordion(f"AnimateDiff, inactive: {twin} is enabled", open=False):
        gr.Markdown(
            f"**{twin} is installed too, and only one of the two can animate.** It goes on as if this one were not "
            f"here. To use this one, disable {twin} under *Extensions* and press *Apply and restart UI*: its motion "
            "modules, settings and infotexts are taken over."
        )
