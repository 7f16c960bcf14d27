"""A server on loopback that speaks as much of S3 as an upload needs, and looks at the signatures."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

ACCESS, SECRET = "AKIDEXAMPLE", "a/secret+key"


class S3Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *buckets: str):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.buckets: dict[str, dict[str, tuple[str, bytes]]] = {name: {} for name in buckets}
        """Bucket → key → (content type, content)."""
        self.refused = ""
        """The code of an error with which every upload is answered."""
        self.blind = 0
        """The status with which every look is answered."""
        self.port = self.server_address[1]


@contextmanager
def s3_server(*buckets: str) -> Iterator[S3Server]:
    server = S3Server(*buckets)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5

    def do_HEAD(self):
        _, bucket, *key = urlsplit(self.path).path.split("/", 2)
        if self.server.blind:
            return self._answer(self.server.blind)
        there = self.server.buckets.get(bucket)
        return self._answer(404 if there is None or (any(key) and key[0] not in there) else 200)

    def do_PUT(self):
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self._is_signed():
            return self._error(403, "SignatureDoesNotMatch", "The signature does not match")
        _, bucket, *key = urlsplit(self.path).path.split("/", 2)
        if not any(key):
            self.server.buckets[bucket] = {}
        elif self.server.refused:
            return self._error(403, self.server.refused, f"{ACCESS} may not, nor may {SECRET}")
        else:
            self.server.buckets[bucket][key[0]] = self.headers["Content-Type"], content
        return self._answer(200)

    def _is_signed(self) -> bool:
        """AWS signature version 4, as docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html has it."""
        scheme, _, rest = self.headers.get("Authorization", "").partition(" ")
        if scheme != "AWS4-HMAC-SHA256":
            return False
        given = dict(part.strip().split("=", 1) for part in rest.split(","))
        access, *scope = given["Credential"].split("/")
        names = given["SignedHeaders"].split(";")
        headers = "".join(f"{name}:{' '.join(self.headers[name].split())}\n" for name in names)
        parts = urlsplit(self.path)
        digest = self.headers["x-amz-content-sha256"]
        canonical = "\n".join([self.command, parts.path, parts.query, headers, ";".join(names), digest])
        text = "\n".join([scheme, self.headers["x-amz-date"], "/".join(scope), _sha256(canonical)])
        key = b"AWS4" + SECRET.encode()
        for part in scope:
            key = hmac.digest(key, part.encode(), "sha256")
        return access == ACCESS and hmac.compare_digest(
            hmac.new(key, text.encode(), "sha256").hexdigest(), given["Signature"]
        )

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _error(self, status: int, code: str, message: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode())

    def log_message(self, *_args):
        """Nothing is printed."""


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
