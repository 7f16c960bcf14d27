"""Other extensions may change an animation after it has begun: scripts are asked in an order that nobody chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from animatediff_ext.webui import changes
from animatediff_ext.webui.argument_object import ShownArgument


def heed(p, argument: ShownArgument, begin_anew: Callable[[Mapping[str, Any]], None]) -> None:
    """Stand before ``p.setup_prompts``, which the WebUI calls when all scripts have been asked and nothing is done yet.

    ``begin_anew`` gets what was changed, by API name, and sets ``p`` up again.
    """
    setup_prompts = p.setup_prompts

    def setup_prompts_as_changed() -> None:
        changed = argument.changes()
        if not changed:
            return setup_prompts()
        begin_anew(changed)
        return p.setup_prompts()

    changes.change(p, setup_prompts=setup_prompts_as_changed)
