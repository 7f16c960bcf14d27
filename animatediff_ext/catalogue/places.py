"""The folders that models of this family are kept in."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from animatediff_ext.catalogue.known import FileKind

OLD_EXTENSIONS = ("sd-webui-animatediff", "sd-forge-animatediff", "sd-webui-EasyPhoto")
"""Extensions before this one; the models of their users lie in their folders."""
_MARK = Path("scripts", "animatediff_infv2v.py")
"""A file that sd-webui-animatediff has had since 1.6, in whichever folder: a ZIP of it unpacks to another name."""
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where files are looked for; new ones go into the first folder of their kind."""

    motion_modules: tuple[Path, ...]
    loras: tuple[Path, ...]
    controlnets: tuple[Path, ...]

    def for_new(self, kind: FileKind) -> Path:
        if kind == "motion-module":
            return self.motion_modules[0]
        return self.controlnets[0] if kind == "sparsectrl" else self.loras[0]

    def present(self) -> dict[str, Path]:
        """File name → path of all that is there; a name that is there twice, at the first."""
        found: dict[str, Path] = {}
        for folder in dict.fromkeys((*self.motion_modules, *self.loras, *self.controlnets)):
            for root, _, names in os.walk(folder, followlinks=True):
                for name in names:
                    found.setdefault(name, Path(root) / name)
        return found


def all_in(folder: Path) -> Places:
    return Places(motion_modules=(folder,), loras=(folder,), controlnets=(folder,))


def is_old_extension(folder: Path) -> bool:
    """Whether sd-webui-animatediff lies in this folder, by its content."""
    return (folder / _MARK).is_file()


def motion_module_folders(chosen: str | None, extension: Path, extensions: Path) -> list[Path]:
    """The folder of the settings or the extension's own, then those of the old extensions, as far as they are there."""
    first = Path(chosen) if chosen else extension / "model"
    old = [extensions / name for name in OLD_EXTENSIONS]
    old += [folder for folder in sorted(extensions.glob("*")) if is_old_extension(folder) and folder not in old]
    others = [extension / "model", *(folder / "model" for folder in old)]
    return [first, *(folder for folder in others if folder != first and folder.is_dir())]


def controlnet_folders(chosen: str | None, models: Path) -> list[Path]:
    """The folder of ControlNet's settings, then its own below the folder of all models."""
    return [*([Path(chosen)] if chosen else []), models / "ControlNet"]


def places_of_command_line(root: Path = _ROOT) -> Places:
    """Those of the WebUI that this project lies in as an extension, with its settings; else one folder for all."""
    webui = root.parents[1]
    if root.parent.name != "extensions" or not (webui / "models").is_dir():
        return all_in(root / "model" if (root / "model").is_dir() else Path("model"))
    settings = _settings(webui / "config.json")
    return Places(
        motion_modules=tuple(motion_module_folders(settings.get("animatediff_model_path"), root, root.parent)),
        loras=(webui / "models" / "Lora",),
        controlnets=tuple(controlnet_folders(settings.get("control_net_models_path"), webui / "models")),
    )


def _settings(config: Path) -> dict:
    try:
        return dict(json.loads(config.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}  # a WebUI that has not been started yet has none
