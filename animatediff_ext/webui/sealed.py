"""Settings that are secrets.

The WebUI hands all settings to every page and to every client of ``/sdapi/v1/options``. So the values of these are
moved into a file of their own beside its ``config.json``, and a mark stands in their place.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from pathlib import Path

from modules import shared

from animatediff_ext.whole_file import beside

FILE = "animatediff-secrets.json"
MARK = f"(kept in {FILE})"
_LOG = logging.getLogger(__name__)


def seal(name: str) -> None:
    """Move the value of a setting away. An empty one is forgotten. What cannot be moved stays, with a warning."""
    value = shared.opts.data.get(name)
    if value == MARK:
        return
    secrets = _read()
    if not value and name not in secrets:
        return
    secrets = {**secrets, name: value} if value else {key: kept for key, kept in secrets.items() if key != name}
    try:
        _write(secrets)
    except OSError as problem:
        _LOG.warning("%s could not be written (%s): %s stays where all settings are.", _path(), problem.strerror, name)
        return
    if value:
        shared.opts.data[name] = MARK


def opened(name: str) -> str:
    """The value of a setting, wherever it is; "" for none."""
    value = shared.opts.data.get(name)
    return str(value or "") if value != MARK else str(_read().get(name, ""))


def _path() -> Path:
    return Path(os.path.abspath(shared.config_filename)).with_name(FILE)


def _write(secrets: dict[str, str]) -> None:
    part = beside(_path())
    try:
        # Never readable for others, not even for a moment (Windows keeps the rules of the folder).
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(secrets, file, indent=4)
        os.replace(part, _path())
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _read() -> dict[str, str]:
    try:
        found = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
