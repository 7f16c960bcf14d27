"""The list of motion modules, with what each is: for services that choose one, and for the page, which proposes one."""

from __future__ import annotations

from typing import Any

from animatediff_ext.formats import describe
from animatediff_ext.inject import misfit
from animatediff_ext.params import SETTINGS
from animatediff_ext.webui import host, models
from animatediff_ext.webui.errors import EXPECTED, AnimateDiffError
from animatediff_ext.webui.folders import without_folders


def listed(*, with_hash: bool) -> list[dict[str, Any]]:
    """Every file or folder of the list. ``with_hash`` reads files whose hash is not known yet, which takes time."""
    return [_entry(name, with_hash=with_hash) for name in models.names()]


def proposed(current: str | None) -> str | None:
    """What the page chooses where ``current`` is chosen: that one, unless it does not fit the loaded checkpoint and
    another one does. None without any."""
    known, model = models.names(), host.loaded_model()
    names = [name for name in dict.fromkeys((current, SETTINGS["model"].default, *known)) if name in known]
    fitting = (name for name in names if model and _entry(name, with_hash=False).get("fits_loaded_checkpoint"))
    return next(fitting, names[0] if names else None)


def _entry(name: str, *, with_hash: bool) -> dict[str, Any]:
    try:
        path = models.find(name)
        known, digest = describe(path), models.short_hash(name, path, read=with_hash)
        model = host.loaded_model()
        fits = not misfit(host.unet_of(model), known.config) if model and known.is_motion_module else None
    except (AnimateDiffError, *EXPECTED, OSError) as problem:
        return {"name": name, "problem": without_folders(str(problem))}
    common = {"name": name, "kind": known.kind, "title": known.title, "hash": digest, "size_bytes": known.size_bytes}
    if not known.is_motion_module:
        return common | {"problem": f"This is {known.title}. {known.fits}"}
    return common | {
        "family": known.family,
        "fits": known.base,
        "fits_loaded_checkpoint": fits,
        "max_context": known.num_positions,
        "sampler_hint": known.sampler_hint,
        "problem": None,
    }
