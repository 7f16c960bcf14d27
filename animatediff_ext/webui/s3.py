"""Files → a bucket of Amazon S3 or of any server that speaks its protocol, by boto3 where that is installed."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import splitext
from urllib.parse import urlsplit, urlunsplit

_SECONDS_TO_CONNECT = 10
_SECONDS_TO_READ = 60
_TRIALS = 3
_MOST_OF_A_NAME = 100
_NEEDS_NO_NAME = "us-east-1"
"""Where buckets are made that name no region; naming this one is refused."""


class S3Error(Exception):
    """A sentence for the user, without secrets."""


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """Where files go, and with whose leave."""

    name: str
    endpoint: str | None
    """URL of the server; None for Amazon's."""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    """Without keys boto3 looks where it always does: in the environment, in ~/.aws, at the machine's role."""

    def __post_init__(self):
        if not self.name:
            raise S3Error("S3 upload has no bucket: fill in Bucket for file storage in the settings.")
        if bool(self.access_key) != bool(self.secret_key):
            raise S3Error("S3 upload has only one of access key and secret key: fill in both in the settings, or none.")

    def url(self, key: str) -> str:
        """Where a file is; whether others may read it there, the bucket's rules decide."""
        return f"{self.endpoint}/{self.name}/{key}" if self.endpoint else f"s3://{self.name}/{key}"

    def redacted(self, text: str) -> str:
        for secret in filter(None, (self.secret_key, self.access_key)):
            text = text.replace(secret, "***")
        return text


def endpoint_of(host: str, port: str) -> str | None:
    """The URL of a server from its name and port; https unless the name says ``http://``. No name: Amazon's own.

    Raises `S3Error`.
    """
    host, port = host.strip(), port.strip()
    if not host:
        return None
    try:
        parts = urlsplit(host if "://" in host else f"https://{host}")
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username
        has_port = parts.port is not None
    except ValueError:  # a port that is no number
        is_url = False
    if not is_url:
        raise S3Error(f"S3 host is {host!r}: give a name such as s3.example.com, or a URL that begins with https://.")
    if not port or has_port:
        return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
    if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65_535:
        raise S3Error(f"S3 port is {port!r}: give a number from 1 to 65535, or leave it empty.")
    return urlunsplit((parts.scheme, f"{parts.netloc}:{port}", parts.path.rstrip("/"), "", ""))


def upload(files: Mapping[str, Path], bucket: Bucket) -> list[str]:
    """Put files into a bucket, each under its key; where one is taken there, all get the same number. Returns the keys.

    A bucket that is not there is made. Raises `S3Error`.
    """
    try:
        import boto3
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, SSLError
    except ImportError as error:
        raise S3Error(
            "S3 upload needs the Python package boto3: install it with 'pip install boto3' into the WebUI's "
            "environment, or switch the upload off in the settings."
        ) from error
    try:
        client = _client(boto3, bucket)
        _make_sure_of(client, bucket, ClientError)
        keys = _free_keys(client, bucket, list(files), ClientError)
        for key, path in zip(keys, files.values(), strict=True):
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            client.upload_file(str(path), bucket.name, key, ExtraArgs={"ContentType": kind})
        return keys
    except (Boto3Error, BotoCoreError, ClientError, OSError, ValueError) as error:
        hint = ""
        if isinstance(error, SSLError):
            hint = " If this server has no https, write http:// in front of its name in the settings."
        said = bucket.redacted(" ".join(str(error).split())).rstrip(".")
        raise S3Error(f"The upload to {bucket.url('')} failed: {said}.{hint}") from None  # the chain may name secrets


def _client(boto3, bucket: Bucket):
    from botocore.config import Config

    known = {
        "connect_timeout": _SECONDS_TO_CONNECT,
        "read_timeout": _SECONDS_TO_READ,
        "retries": {"total_max_attempts": _TRIALS},
    }
    if bucket.endpoint:
        known["s3"] = {"addressing_style": "path"}
        # Servers that only speak S3's protocol do not know the checksums of newer clients.
        newer = ("request_checksum_calculation", "response_checksum_validation")
        known |= {name: "when_required" for name in newer if name in Config.OPTION_DEFAULTS}
    # A session of its own: the common one is not safe in threads.
    return boto3.session.Session().client(
        "s3",
        endpoint_url=bucket.endpoint,
        aws_access_key_id=bucket.access_key or None,
        aws_secret_access_key=bucket.secret_key or None,
        config=Config(**known),
    )


def _make_sure_of(client, bucket: Bucket, client_error: type[Exception]) -> None:
    try:
        client.head_bucket(Bucket=bucket.name)
    except client_error as error:
        # Whoever may only write is refused a look at the bucket (403), and can upload all the same.
        if error.response["Error"]["Code"] in ("404", "NoSuchBucket"):
            region = None if bucket.endpoint else client.meta.region_name
            place = {} if region in (None, _NEEDS_NO_NAME) else {"LocationConstraint": region}
            client.create_bucket(Bucket=bucket.name, **({"CreateBucketConfiguration": place} if place else {}))


def _free_keys(client, bucket: Bucket, keys: list[str], client_error: type[Exception]) -> list[str]:
    """Videos of txt2img and img2img are numbered apart, and anew once a folder has been emptied."""
    tried = ([f"-{number}".join(splitext(key)) if number else key for key in keys] for number in range(_MOST_OF_A_NAME))
    for those in tried:
        if not any(_is_taken(client, bucket, key, client_error) for key in those):
            return those
    raise S3Error(
        f"The upload to {bucket.url('')} failed: it has {_MOST_OF_A_NAME} files of the name {keys[0]}, or is no S3 "
        "server and says yes to everything."
    )


def _is_taken(client, bucket: Bucket, key: str, client_error: type[Exception]) -> bool:
    try:
        client.head_object(Bucket=bucket.name, Key=key)
    except client_error as error:
        # It is not there (404), or whoever may only write is refused a look (403). Else nothing is known.
        if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
            raise
        return False
    return True
