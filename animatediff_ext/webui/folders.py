"""Messages without the server's folders: a client of the API has no business to know where a service lives."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from modules import paths, shared

from animatediff_ext.webui import host, loras, models


def without_folders(text: str, *others: str | None) -> str:
    """``text`` with files named below the folders of this installation (and ``others``), and folders by their name."""
    found = {Path(folder) for folder in (*_known(), *others) if folder}
    folders = [folder for folder in found if folder.is_absolute() and len(folder.parts) > 1]
    for folder in sorted(folders, key=lambda folder: len(str(folder)), reverse=True):
        for spelled in {str(folder), folder.as_posix(), repr(str(folder))[1:-1]}:
            text = re.sub(rf"{re.escape(spelled)}(?:[\\/]+(?=\w)|(?![\w.-]))", _shortened(folder), text)
    return text


def _shortened(folder: Path):
    return lambda found: "" if found[0][-1] in "\\/" else folder.name


def _known() -> list:
    webui = [getattr(paths, name, None) for name in ("script_path", "data_path", "models_path", "extensions_dir")]
    temporary = [shared.opts.temp_dir, tempfile.gettempdir()]
    return [*models.folders(), host.EXTENSION, *webui, *loras.lora_folders(), *temporary]
