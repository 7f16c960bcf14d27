"""What an infotext says of an animation, in the old extension's form, whatever writes it.

``AnimateDiff: "model: x.safetensors, video_length: 16, …"``, with everything resolved. Settings that the old
extension does not have stand in a second entry, so that its parser still reads the first.
"""

from __future__ import annotations

from collections.abc import Iterable

from animatediff_ext import __version__
from animatediff_ext.params import SETTINGS, Animation, value_of
from animatediff_ext.setting import Setting

KEY = "AnimateDiff"
OWN_KEY = "AnimateDiff settings"


def entries(animation: Animation, *, is_img2img: bool, short_hash: str | None) -> dict[str, str]:
    """Both entries; the second only where there is something to say. ``animation`` must be resolved."""
    known = [s for s in SETTINGS.values() if s.infotext and s.api != "request_id"]
    parts = _pairs(animation, [s for s in known if not s.img2img_only])
    parts += [f"request_id: {animation.output.request_id}"] if animation.output.request_id else []
    parts += [f"mm_hash: {short_hash}"] if short_hash else []
    parts += _pairs(animation, [s for s in known if s.img2img_only and is_img2img])
    own = [s for s in SETTINGS.values() if s.own_infotext]
    changed = _pairs(animation, [s for s in own if value_of(animation, s) != s.default])
    return {
        KEY: ", ".join([*parts, f"version: {__version__}"]),
        **({OWN_KEY: ", ".join(changed)} if changed else {}),
    }


def _pairs(animation: Animation, known: Iterable[Setting]) -> list[str]:
    return [f"{s.api}: {value_of(animation, s)}" for s in known]
