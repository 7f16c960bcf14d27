"""The toy world's files where a WebUI looks for models."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import yaml

from animatediff_ext.toy.files import BASE, CHALK, CLIP_FOLDER, DUSK, MOTION, ZOOM
from animatediff_ext.whole_file import whole_file

CHECKPOINTS = Path("models/Stable-diffusion")
LORAS = Path("models/Lora")


def install(toy: Path, webui: Path) -> Iterator[Path]:
    """Copy what is in ``toy`` into the WebUI's folders; yields what was written.

    The description beside a checkpoint names the folder of the tokenizer, which the WebUI takes from where it was
    started; so the copies name it in full. Raises `FileNotFoundError` where ``webui`` is no WebUI.
    """
    if not (webui / CHECKPOINTS).is_dir():
        raise FileNotFoundError(
            f"{webui} has no folder {CHECKPOINTS.as_posix()}: give the folder of a Stable Diffusion WebUI."
        )
    for name in (BASE, DUSK):
        yield _copied(toy / name, webui / CHECKPOINTS / name)
        yield _described(toy, webui / CHECKPOINTS / name)
    for name in (CHALK, ZOOM):
        yield _copied(toy / name, webui / LORAS / name)
    yield _copied(toy / MOTION, _motion_modules(webui) / MOTION)


def _motion_modules(webui: Path) -> Path:
    """The folder of this extension in that WebUI, which its drop-down lists. Raises `FileNotFoundError`."""
    found = [folder for folder in sorted((webui / "extensions").glob("*")) if (folder / "animatediff_ext").is_dir()]
    if not found:
        raise FileNotFoundError(f"{webui} has no AnimateDiff in its folder extensions: install this one there first.")
    return found[0] / "model"


def _copied(source: Path, target: Path) -> Path:
    with whole_file(target) as part:
        shutil.copyfile(source, part)
    return target


def _described(toy: Path, checkpoint: Path) -> Path:
    description = yaml.safe_load((toy / checkpoint.name).with_suffix(".yaml").read_text(encoding="utf-8"))
    description["model"]["params"]["cond_stage_config"]["params"]["version"] = str((toy / CLIP_FOLDER).resolve())
    target = checkpoint.with_suffix(".yaml")
    with whole_file(target) as part:
        part.write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
    return target
