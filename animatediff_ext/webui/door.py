"""What `scripts/animatediff.py` gives to the WebUI: our script, or a word in the page of a WebUI that is too old.

This is settled before anything else is imported, since old WebUIs lack names that the rest imports.
"""

from __future__ import annotations

from modules import scripts

from animatediff_ext.webui import aside

if hasattr(scripts.Script, "process_before_every_sampling"):  # a hook that WebUI 1.10 brought
    from animatediff_ext.webui.script import AnimateDiffScript, register
else:

    class AnimateDiffScript(scripts.Script):
        """Says in the page what to do, and does nothing."""

        def title(self):
            return aside.TOO_OLD.title

        def show(self, is_img2img):
            return scripts.AlwaysVisible

        def ui(self, is_img2img):
            return aside.TOO_OLD.show()

    def register() -> None:
        """No callbacks."""


__all__ = ["AnimateDiffScript", "register"]
