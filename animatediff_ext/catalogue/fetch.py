"""One file of the list, from the hub to its folder: whole and checked, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from animatediff_ext.catalogue import hub
from animatediff_ext.catalogue.hub import HubError, Progress, Remote
from animatediff_ext.catalogue.known import KnownFile
from animatediff_ext.held import held
from animatediff_ext.whole_file import replace

VerifiedBy = Literal["list", "hub", "size"]


@dataclass(frozen=True, kw_only=True)
class Fetched:
    path: Path
    was_there: bool
    verified_by: VerifiedBy
    """Whose SHA-256 it has: that of our list or, where that has none, the hub's; ``size`` where neither has one."""


def fetch(file: KnownFile, folder: Path, progress: Progress = lambda have, size: None) -> Fetched:
    """Get a file, or find that it is there.

    Until all is checked it has another name, which ends in ``.part``; from there the next call goes on. ``progress`` is
    called with the bytes that are there and those of the whole file; what it raises ends the download.
    Raises `HubError`.
    """
    path = folder / file.file_name
    try:
        return _that_is_there(file, path) if path.exists() else _got(file, path, progress)
    except OSError as error:
        raise HubError(f"{path} cannot be read or written ({error}): use another folder.") from error


def _got(file: KnownFile, path: Path, progress: Progress) -> Fetched:
    remote = hub.look_up(file)
    if file.sha256 and remote.sha256 and file.sha256 != remote.sha256:
        raise HubError(
            f"{remote.url} is not the {file.file_name} that is known here (sha256 {remote.sha256[:12]}…, not "
            f"{file.sha256[:12]}…): update this extension, or download it yourself if you know who has changed it."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with _part_of(path, remote) as part:
        hub.download(file, remote, part, progress)
        verified_by = _verify(file, remote, part)
        replace(part, path)
    return Fetched(path=path, was_there=False, verified_by=verified_by)


def _that_is_there(file: KnownFile, path: Path) -> Fetched:
    from animatediff_ext.formats import sha256_of_file

    if file.sha256 and sha256_of_file(path) != file.sha256:
        raise HubError(
            f"{path} is there, but is not the published file, or only a part of it: rename it or delete it, and get "
            f"{file.file_name} again."
        )
    return Fetched(path=path, was_there=True, verified_by="list" if file.sha256 else "size")


@contextmanager
def _part_of(path: Path, remote: Remote) -> Iterator[Path]:
    """The file in the making, for one process at a time. Parts of what the hub had before are of no use any more."""
    part = path.with_name(f"{path.name}.{remote.revision[:12]}.part")
    lock = Path(f"{part}.lock")
    with ExitStack() as stack:
        try:
            stack.enter_context(held(lock, wait=False))
        except BlockingIOError as error:
            raise HubError(f"{path.name} is being fetched already: wait for that.") from error
        try:
            for old in path.parent.glob(f"{path.name}.*.part"):
                if old != part:
                    old.unlink()
            yield part
        finally:
            stack.close()
            with suppress(OSError):  # another process is just trying it; Windows deletes no open file
                lock.unlink(missing_ok=True)


def _verify(file: KnownFile, remote: Remote, part: Path) -> VerifiedBy:
    """Raises `HubError`, and deletes what is wrong: to go on from it would be of no use."""
    from animatediff_ext.formats import FormatError, describe, sha256_of_file

    sha256 = file.sha256 or remote.sha256
    if sha256 and sha256_of_file(part) != sha256:
        part.unlink()
        raise HubError(f"{file.file_name} arrived damaged (its sha256 is not {sha256[:12]}…): get it again.")
    try:
        found = describe(part)
    except FormatError as error:
        part.unlink()
        raise HubError(f"What came as {file.file_name} is of no use: {error}") from error
    if found.kind != file.kind or (found.family or file.family) != file.family:
        part.unlink()
        raise HubError(
            f"What came as {file.file_name} is {found.title}, and should be a {file.kind} for {file.family}: it was "
            "not kept; look into its repository."
        )
    return "list" if file.sha256 else "hub" if remote.sha256 else "size"
