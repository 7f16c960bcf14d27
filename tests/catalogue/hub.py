"""The Hugging Face Hub in miniature, on loopback: what `huggingface_hub` asks of it for one file.

As on the real one, a large file's address redirects to a store of contents, and the answer names its SHA-256 and size.
"""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    url: str = ""
    store: str = ""
    """Another host than the hub, to the library."""
    files: dict[str, bytes] = field(default_factory=dict)
    """``owner/name/path`` → content."""
    cuts: list[int] = field(default_factory=list)
    """After how many bytes the next answers break off."""
    knows_range: bool = True
    says_size: bool = True
    is_lfs: bool = True
    status: int = 200
    damage: bool = False
    """Whether the store gives out other bytes than were promised."""
    ranges: list[str | None] = field(default_factory=list)
    """What was asked of the store."""
    authorizations: list[str | None] = field(default_factory=list)
    store_authorizations: list[str | None] = field(default_factory=list)

    def sha256(self, name: str) -> str:
        return hashlib.sha256(self.files[name]).hexdigest()


@contextmanager
def served() -> Iterator[Hub]:
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        hub.url, hub.store = (f"http://{host}:{server.server_port}" for host in ("127.0.0.1", "localhost"))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join(timeout=5)


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub
    timeout = 5

    def do_HEAD(self):
        self._resolve()

    def do_GET(self):
        if self.path.startswith("/store/"):
            self._store(self.path.removeprefix("/store/"))
        else:
            self._resolve()

    def _resolve(self):
        hub = self.hub
        hub.authorizations.append(self.headers["Authorization"])
        match = re.fullmatch(r"/(.+)/resolve/([^/]+)/(.+)", self.path)
        name = f"{match[1]}/{match[3]}" if match else ""
        if hub.status != 200:
            return self._answer(hub.status)
        if name not in hub.files or match[2] not in ("main", COMMIT):
            return self._answer(404, {"X-Error-Code": "EntryNotFound"})
        headers = {"X-Repo-Commit": COMMIT, "Location": f"{hub.store}/store/{name}", "ETag": '"of the pointer"'}
        if hub.is_lfs:
            headers["X-Linked-ETag"] = f'"{hub.sha256(name)}"'
        if hub.says_size:
            headers["X-Linked-Size"] = str(len(hub.files[name]))
        return self._answer(302, headers)

    def _store(self, name: str):
        hub = self.hub
        asked = self.headers["Range"]
        hub.ranges.append(asked)
        hub.store_authorizations.append(self.headers["Authorization"])
        content = bytes(len(hub.files[name])) if hub.damage else hub.files[name]
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and hub.knows_range else 0
        wanted = content[start:]
        headers = {"Content-Length": str(len(wanted))}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._answer(206 if start else 200, headers)
        self.wfile.write(wanted[: hub.cuts.pop(0)] if hub.cuts else wanted)

    def _answer(self, status: int, headers: dict[str, str] | None = None):
        self.send_response(status)
        for key, value in ({"Content-Length": "0"} | (headers or {})).items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, *_):
        pass
