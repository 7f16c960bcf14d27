"""The list of motion modules, with what each is: for services that choose one."""

from __future__ import annotations

from typing import Any

from animatediff_ext.formats import describe
from animatediff_ext.inject import misfit
from animatediff_ext.webui import host, models
from animatediff_ext.webui.errors import EXPECTED, AnimateDiffError
from animatediff_ext.webui.folders import without_folders


def listed(*, with_hash: bool) -> list[dict[str, Any]]:
    """Every file or folder of the list. ``with_hash`` reads files whose hash is not known yet, which takes time."""
    return [_entry(name, with_hash=with_hash) for name in models.names()]


def _entry(name: str, *, with_hash: bool) -> dict[str, Any]:
    try:
        path = models.find(name)
        known, digest = describe(path), models.short_hash(name, path, read=with_hash)
    except (AnimateDiffError, *EXPECTED, OSError) as problem:
        return {"name": name, "problem": without_folders(str(problem))}
    common = {"name": name, "kind": known.kind, "title": known.title, "hash": digest, "size_bytes": known.size_bytes}
    if not known.is_motion_module:
        return common | {"problem": f"This is {known.title}. {known.fits}"}
    model = host.loaded_model()
    return common | {
        "family": known.family,
        "fits": known.base,
        "fits_loaded_checkpoint": not misfit(host.unet_of(model), known.config) if model else None,
        "max_context": known.num_positions,
        "sampler_hint": known.sampler_hint,
        "problem": None,
    }
