"""What is left of this extension where it cannot work: a word in the page.

It does nothing then, and its title is another one: requests for *AnimateDiff* reach the extension that can answer, or
are refused by the WebUI's API.
"""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr


@dataclass(frozen=True)
class Aside:
    reason: str
    """A few words, for titles."""
    text: str
    """What to do, in Markdown."""

    @property
    def title(self) -> str:
        return f"AnimateDiff (inactive: {self.reason})"

    def show(self) -> None:
        """In place of our fields."""
        with gr.Accordion(f"AnimateDiff, inactive: {self.reason}", open=False):
            gr.Markdown(self.text)


TOO_OLD = Aside(
    "it needs WebUI 1.10",
    "**AnimateDiff needs WebUI 1.10 or a newer one, and this one is older.** Update it (`git pull` in its folder, then "
    "start it again).",
)


def beside(twin: str) -> Aside:
    return Aside(
        f"{twin} is enabled",
        f"**{twin} is installed too, and only one of the two can animate.** It goes on as if this one were not "
        f"here. To use this one, disable {twin} under *Extensions* and press *Apply and restart UI*: its motion "
        "modules, settings and infotexts are taken over.",
    )


def without_fields(problem: Exception) -> Aside:
    return Aside(
        "its fields could not be made",
        f"**The fields of AnimateDiff could not be made** ({type(problem).__name__}: {problem}). The console of the "
        "WebUI has the whole message: please report it; *Reload UI* tries again.",
    )
