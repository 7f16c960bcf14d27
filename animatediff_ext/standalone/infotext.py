"""What the files of a clip say of how it was made, as the WebUI writes it and *PNG Info* reads it.

The entry of the animation is that of `webui/infotext.py`; a test holds the two together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from animatediff_ext import __version__
from animatediff_ext.params import SETTINGS, Animation, value_of
from animatediff_ext.setting import Setting
from animatediff_ext.standalone.job import Job

_SAMPLERS = {
    "Euler SGM Uniform": {"Sampler": "Euler", "Schedule type": "SGM Uniform"},
    "DPM++ 2M": {"Sampler": "DPM++ 2M", "Schedule type": "Karras"},
}
"""Where the WebUI has two words for what is one here."""
_HASH_DIGITS, _MODULE_HASH_DIGITS = 10, 8
_JOB = re.compile(r"\bJob: ([0-9a-f]{8})\b")


def infotext(job: Job, animation: Animation, *, model_digest: str, module_digest: str, digest: str) -> str:
    """``prompt``, ``Negative prompt: …``, ``Steps: …, Sampler: …``, a line each.

    ``animation`` is resolved and ``job.seed`` is the one that was used; ``digest`` is that of the job as it was given.
    Of files, the names are written and not the folders.
    """
    loras = [f"<lora:{path.stem}:{strength:g}>" for path, strength in job.loras]
    lines = [" ".join([job.prompt, *loras]), f"Negative prompt: {job.negative}" if job.negative else ""]
    entries = _entries(job, animation, model_digest, module_digest) | {"Job": digest}
    lines.append(", ".join(f"{name}: {_quoted(value)}" for name, value in entries.items()))
    return "\n".join(filter(None, lines))


def job_in(text: str) -> str:
    """The digest of the job in an infotext, empty where there is none."""
    found = _JOB.findall(text)
    return found[-1] if found else ""


def _entries(job: Job, animation: Animation, model_digest: str, module_digest: str) -> dict[str, str]:
    entries = {
        "Steps": str(job.steps),
        **_SAMPLERS.get(job.sampler, {"Sampler": job.sampler}),
        "CFG scale": f"{job.cfg:g}",
        "Seed": str(job.seed),
        "Size": "x".join(map(str, job.picture_size)),
        "Model hash": model_digest[:_HASH_DIGITS],
        "Model": Path(job.checkpoint).stem if model_digest else Path(job.checkpoint).name,
        "VAE": Path(job.vae).name if job.vae else "",
        "Denoising strength": f"{job.strength:g}" if job.init else "",
        "Clip skip": str(job.clip_skip) if job.clip_skip > 1 else "",
    }
    if job.motion_module:
        named = replace(animation, motion_module=Path(job.motion_module).name)
        entries |= animation_entries(named, is_img2img=bool(job.init), short_hash=module_digest[:_MODULE_HASH_DIGITS])
    return {name: value for name, value in entries.items() if value}


def animation_entries(animation: Animation, *, is_img2img: bool, short_hash: str) -> dict[str, str]:
    """``AnimateDiff``, in the old extension's form, and ``AnimateDiff settings`` for what that one does not know."""
    known = [s for s in SETTINGS.values() if s.infotext and s.api != "request_id"]
    parts = _pairs(animation, [s for s in known if not s.img2img_only])
    parts += [f"request_id: {animation.output.request_id}"] if animation.output.request_id else []
    parts += [f"mm_hash: {short_hash}"] if short_hash else []
    parts += _pairs(animation, [s for s in known if s.img2img_only and is_img2img])
    own = [s for s in SETTINGS.values() if not s.infotext and s.api.startswith(("context_", "freeinit_"))]
    changed = _pairs(animation, [s for s in own if value_of(animation, s) != s.default])
    return {
        "AnimateDiff": ", ".join([*parts, f"version: {__version__}"]),
        **({"AnimateDiff settings": ", ".join(changed)} if changed else {}),
    }


def _pairs(animation: Animation, known: Iterable[Setting]) -> list[str]:
    return [f"{s.api}: {value_of(animation, s)}" for s in known]


def _quoted(value: str) -> str:
    """As the WebUI does (modules/infotext_utils.py), so that commas and colons stay within their entry."""
    return json.dumps(value, ensure_ascii=False) if any(mark in value for mark in ",\n:") else value
