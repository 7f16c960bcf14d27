"""What other extensions get when they ask for the arguments of AnimateDiff, under the names of the old extension.

They read its attributes, and change an animation by assigning to them: ``argument.video_length = 24``.
"""

from __future__ import annotations

from typing import Any

from animatediff_ext.params import SETTINGS, Animation, to_api
from animatediff_ext.webui import host
from animatediff_ext.webui.prompt_schedule import PromptSchedule

_INTERNAL = {"is_i2i_batch": False, "video_default": False, "prompt_scheduler": None}
"""Attributes that are no arguments; others set or read them."""


class AnimateDiffProcess:
    """All arguments as attributes, with their defaults where nothing was given.

    Others construct it too, by position in API order (which begins with the old extension's) or by name, and put it
    where the API puts its dictionary.
    """

    of_the_page = False
    """Whether it says no more than the page's fields."""

    def __init__(self, *values: Any, **named: Any):
        defaults = {api: known.default for api, known in SETTINGS.items()}
        defaults["format"] = list(host.default_formats())
        given = dict(zip(SETTINGS, values)) | named  # noqa: B905 - as many as were given
        vars(self).update({**defaults, **_INTERNAL, **given})

    @classmethod
    def of(cls, animation: Animation, **over: Any) -> AnimateDiffProcess:
        values = to_api(animation)
        return cls(**{**values, "format": list(values["format"]), **over})


class PageArgument(AnimateDiffProcess):
    """What the page's fields say, for others to read and change."""

    of_the_page = True


class ShownArgument:
    """The argument object of one generation: resolved, so that others see how many frames there really are."""

    def __init__(self, p, animation: Animation):
        self._p = p
        self._animation = animation
        self._shown: AnimateDiffProcess | None = None

    @property
    def shown(self) -> AnimateDiffProcess:
        if self._shown is None:
            schedule = PromptSchedule.of(self._p.prompt, self._animation)
            self._shown = AnimateDiffProcess.of(self._animation, prompt_scheduler=schedule)
        return self._shown

    def changes(self) -> dict[str, Any]:
        """What others have assigned since, by API name; as many frames as they made of the WebUI's batch size."""
        before = vars(AnimateDiffProcess.of(self._animation))
        now = vars(self._shown) if self._shown else before
        changed = {api: now[api] for api in SETTINGS if now[api] is not before[api] and now[api] != before[api]}
        if self._p.batch_size != self._animation.num_frames:
            changed.setdefault("video_length", self._p.batch_size)
        return changed
