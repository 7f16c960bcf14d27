"""What the files of a clip say of how it was made, as the WebUI writes it and *PNG Info* reads it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

from animatediff_ext.direct import loras_by_name
from animatediff_ext.infotext import entries as animation_entries
from animatediff_ext.params import Animation
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
        motion = animation.motion
        second = Path(motion.second_module).name if motion.second_module else ""
        motion = replace(motion, second_module=second, loras=loras_by_name(motion.loras))
        named = replace(animation, motion_module=Path(job.motion_module).name, motion=motion)
        entries |= animation_entries(named, is_img2img=bool(job.init), short_hash=module_digest[:_MODULE_HASH_DIGITS])
    return {name: value for name, value in entries.items() if value}


def _quoted(value: str) -> str:
    """As the WebUI does (modules/infotext_utils.py), so that commas and colons stay within their entry."""
    return json.dumps(value, ensure_ascii=False) if any(mark in value for mark in ",\n:") else value
