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

from animatediff_ext.whole_file import beside, replace

FILE = ".animatediff-secrets.json"
"""With a point in front: the page's server hands out the files of the WebUI's folder, but none of such a name."""
_FORMER_FILE = "animatediff-secrets.json"
_MARK_BEGINS = "(kept in "
MARK = f"{_MARK_BEGINS}{FILE})"
_LOG = logging.getLogger(__name__)


def seal(name: str) -> bool:
    """Move the value of a setting away, if it has one. What cannot be moved stays, with a warning. True if it was."""
    value = shared.opts.data.get(name)
    if not value or _is_mark(value) or not _written(name, value):
        return False
    shared.opts.data[name] = MARK
    return True


def seal_for_good(*names: str) -> None:
    """The same when the WebUI starts, which has read the values from its file: there they are replaced as well, unless
    settings are frozen."""
    former = _path().with_name(_FORMER_FILE)
    if former.exists() and not _path().exists():
        with suppress(OSError):
            replace(former, _path())
    sealed = [name for name in names if seal(name)]
    if sealed and not shared.cmd_opts.freeze_settings:
        try:
            shared.opts.save(shared.config_filename)
        except OSError as problem:
            _LOG.warning(
                "%s could not be written (%s): %s can still be read there.",
                shared.config_filename,
                problem.strerror,
                " and ".join(sealed),
            )


def changed(name: str) -> None:
    """The user has set it: a value is moved away, an empty one is forgotten."""
    if shared.opts.data.get(name):
        seal(name)
    elif name in _read():
        _written(name, "")


def opened(name: str) -> str:
    """The value of a setting, wherever it is; "" for none."""
    value = shared.opts.data.get(name)
    return str(_read().get(name, "")) if _is_mark(value) else str(value or "")


def _is_mark(value: object) -> bool:
    return isinstance(value, str) and value.startswith(_MARK_BEGINS)


def _written(name: str, value: str) -> bool:
    """Keep a value, or forget it if it is empty. True if the file could be written."""
    try:
        others = {key: kept for key, kept in _known().items() if key != name}
        _write({**others, name: value} if value else others)
    except OSError as problem:
        _LOG.warning("%s could not be written (%s): %s stays where all settings are.", _path(), problem.strerror, name)
        return False
    return True


def _path() -> Path:
    return Path(os.path.abspath(shared.config_filename)).with_name(FILE)


def _write(secrets: dict[str, str]) -> None:
    part = beside(_path())
    try:
        # Never readable for others, not even for a moment (Windows keeps the rules of the folder).
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(secrets, file, indent=4)
        replace(part, _path())
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _read() -> dict[str, str]:
    try:
        return _known()
    except OSError:
        return {}


def _known() -> dict[str, str]:
    """Raises `OSError` where the file cannot be read now: to write it anew would lose what it has."""
    try:
        found = json.loads(_path().read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
