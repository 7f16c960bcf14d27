"""Videos → the bucket of the settings, if the user wants that. A problem there never costs a video."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from modules import shared

from animatediff_ext.webui import sealed
from animatediff_ext.webui.s3 import Bucket, S3Error, endpoint_of, upload

UPLOADED = ("GIF", "MP4", "WEBP", "WEBM")
_LOG = logging.getLogger(__name__)


def upload_videos(files: Mapping[str, Path], name_of: Callable[[Path], str], say: Callable[[str], None]) -> None:
    """Upload what is a video among ``files`` (format → path), each under the name that ``name_of`` gives it.

    ``say`` is told where they are, or why not.
    """
    if not shared.opts.animatediff_s3_enable:
        return
    keys = {name_of(files[kind]): files[kind] for kind in UPLOADED if kind in files}
    if not keys:
        return
    try:
        bucket = _bucket()
        uploaded = upload(keys, bucket)
    except S3Error as problem:
        _LOG.warning("%s", problem)
        say(f"{problem} The videos were made all the same.")
    else:
        say("Uploaded to " + " ".join(map(bucket.url, uploaded)))


def name_for_now(seed: int, request_id: str) -> Callable[[Path], str]:
    """Names for files that are kept nowhere else, so that no folder has a number for them."""
    now = datetime.datetime.now()
    stem = "-".join(filter(None, [f"{now:%H%M%S%f}", str(seed), request_id]))
    return lambda path: f"{now:%Y-%m-%d}/{stem}{path.suffix}"


def name_below(folder: Path) -> Callable[[Path], str]:
    """The names of files within ``folder``; by default ``2024-01-31/00012-1234567.gif``, as in the old extension."""
    return lambda path: path.relative_to(folder).as_posix()


def _bucket() -> Bucket:
    opts = shared.opts
    return Bucket(
        name=(opts.animatediff_s3_storge_bucket or "").strip(),
        endpoint=endpoint_of(str(opts.animatediff_s3_host or ""), str(opts.animatediff_s3_port or "")),
        access_key=sealed.opened("animatediff_s3_access_key").strip(),
        secret_key=sealed.opened("animatediff_s3_secret_key").strip(),
    )
