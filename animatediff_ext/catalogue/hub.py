"""What we ask of the Hugging Face Hub, through `huggingface_hub`.

Only functions that exist from 0.16 (the WebUI's) to 2.4 are used. `hf_hub_download` is not: what it does with a folder,
a cache and an interrupted download is another thing in each of these versions, and the newest does not resume.
``HF_ENDPOINT``, tokens and ``HF_HUB_OFFLINE`` are the library's own affair.
"""

from __future__ import annotations

import errno
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

from animatediff_ext.catalogue.known import KnownFile, readable_size

Progress = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes of the whole file. What it raises ends the download."""


class HubError(Exception):
    """One sentence."""


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A file as the hub has it now."""

    url: str
    size_bytes: int
    sha256: str | None
    """None where the hub does not keep the file as a large one."""
    revision: str
    """What changes when the file does."""


def look_up(file: KnownFile) -> Remote:
    """Raises `HubError`."""
    hub = _library(file)
    if hub.constants.HF_HUB_OFFLINE:
        raise HubError(f"HF_HUB_OFFLINE is set, so {file.file_name} cannot be fetched: unset it, and start again.")
    url = hub.hf_hub_url(file.repo, file.path)
    try:
        found = hub.get_hf_file_metadata(url)
    except _failures() as error:
        raise _said(error, file, url) from error
    if not found.size or not found.etag:
        raise HubError(f"{url} does not say how large the file is: is HF_ENDPOINT the address of a hub?")
    return Remote(
        url=hub.hf_hub_url(file.repo, file.path, revision=found.commit_hash),
        size_bytes=found.size,
        sha256=found.etag if re.fullmatch(r"[0-9a-f]{64}", found.etag) else None,
        revision=found.etag,
    )


def download(file: KnownFile, remote: Remote, part: Path, progress: Progress) -> None:
    """Write the file to ``part``, going on from what is there. As long as more arrives, broken connections are taken up
    again. Raises `HubError`, and whatever ``progress`` raises; what has arrived is kept for the next time."""
    part.touch()
    _check_space(file, remote, part)
    started_again = False
    while (have := _size(part)) != remote.size_bytes:
        progress(have, remote.size_bytes)
        try:
            _receive(file, remote, part, progress)
        except _TooLong:
            # A server that does not know Range sends the file from its beginning.
            part.write_bytes(b"")
            if started_again:
                raise HubError(f"{remote.url} sends more than the {remote.size_bytes:,} bytes of the file.") from None
            started_again = True
        except _failures() as error:
            if _size(part) <= have or getattr(error, "errno", None) == errno.ENOSPC:
                raise _said(error, file, remote.url, have=_size(part)) from error


def _receive(file: KnownFile, remote: Remote, part: Path, progress: Progress) -> None:
    hub = _library(file)
    headers = hub.utils.build_hf_headers()
    headers["Accept-Encoding"] = "identity"  # else there would be no place to go on from
    with part.open("ab") as stream:
        hub.file_download.http_get(
            remote.url,
            _Counted(stream, remote.size_bytes, progress),
            resume_size=stream.tell(),
            headers=headers,
            expected_size=remote.size_bytes,
        )


class _TooLong(Exception):
    """More arrives than the file has."""


class _Counted:
    """A file that tells how far it is when it is written to."""

    def __init__(self, stream: BinaryIO, size_bytes: int, progress: Progress):
        self._stream = stream
        self._size_bytes = size_bytes
        self._progress = progress

    def write(self, data: bytes) -> int:
        have = self._stream.tell() + len(data)
        if have > self._size_bytes:
            raise _TooLong
        written = self._stream.write(data)
        self._progress(have, self._size_bytes)
        return written

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


def _size(part: Path) -> int:
    return part.stat().st_size


def _check_space(file: KnownFile, remote: Remote, part: Path) -> None:
    needed, free = remote.size_bytes - _size(part), shutil.disk_usage(part.parent).free
    if needed > free:
        raise _no_space(file, part.parent, f"{readable_size(needed)} are needed and {readable_size(free)} are free")


def _no_space(file: KnownFile, folder: Path | str, how: str) -> HubError:
    return HubError(
        f"There is no room for {file.file_name} in {folder} ({how}): make room there, or give another folder."
    )


def _library(file: KnownFile) -> ModuleType:
    """`huggingface_hub`, which is no requirement of ours."""
    try:
        import huggingface_hub
        from huggingface_hub import constants, file_download, utils  # noqa: F401 (attributes of the package, then)
    except ImportError as error:
        raise HubError(
            f"{file.file_name} is fetched by the package huggingface_hub, which is not installed: install it (pip "
            f"install huggingface_hub), or download {file.path} yourself from the repository {file.repo} of the "
            "Hugging Face Hub."
        ) from error
    return huggingface_hub


def _failures() -> tuple[type[Exception], ...]:
    """What can go wrong on the way. requests' errors (up to 0.36) are OSErrors, those of httpx (1.x) and httpx2 (2.x)
    are not."""
    of_httpx = [sys.modules[name].HTTPError for name in ("httpx", "httpx2") if name in sys.modules]
    return (OSError, *of_httpx)


def _said(error: Exception, file: KnownFile, url: str, have: int = 0) -> HubError:
    """The sentence for what happened."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    by_hand = f"or download {url} yourself"
    if getattr(error, "errno", None) == errno.ENOSPC:
        return _no_space(file, "its folder", "the disk is full")
    if status == 404:
        return HubError(
            f"{url} is not there (any more): look into the repository {file.repo}; an update of this "
            "extension may know more."
        )
    if status in (401, 403):
        return HubError(f"{url} may not be read (status {status}): log in with the command hf auth login, {by_hand}.")
    if status:
        return HubError(f"{url} answered with status {status}: try again later, {by_hand}.")
    arrived = f"after {readable_size(have)}, which are kept for the next time" if have else "and nothing has arrived"
    return HubError(
        f"{file.file_name} could not be fetched, {arrived} ({_reason(error)}): look to the connection and try again, "
        f"give the address of a mirror in HF_ENDPOINT, {by_hand}."
    )


def _reason(error: Exception) -> str:
    """The innermost cause is the one that says something; the outer ones wrap it in the names of classes."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return " ".join(str(error).split()) or type(error).__name__
