"""A headless Chromium, driven over the WebDriver protocol (https://www.w3.org/TR/webdriver2/)."""

from __future__ import annotations

import base64
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",
    "--disable-dev-shm-usage",
    "--window-size=1200,1400",
    # nothing but the page itself: gradio's page asks for fonts and scripts of others
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


def needs_chromium(test):
    """Mark a test that has the fixture `browser`."""
    missing = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    return pytest.mark.browser(pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")(test))


class Browser:
    def __init__(self, session: str):
        self._http = httpx.Client(base_url=session, timeout=60, trust_env=False)

    def _post(self, path: str, **body) -> Any:
        answer = self._http.post(path, json=body).json()["value"]
        if isinstance(answer, dict) and "error" in answer:
            raise RuntimeError(answer["message"])
        return answer

    def open(self, url: str) -> None:
        self._post("/url", url=url)

    def script(self, source: str, *args) -> Any:
        """The value of a JavaScript expression."""
        return self._post("/execute/sync", script=f"return {source}", args=list(args))

    def _element(self, css: str) -> str:
        return self._post("/element", using="css selector", value=css)[_ELEMENT]

    def click(self, css: str) -> None:
        element = self._element(css)
        self.script("arguments[0].scrollIntoView({block: 'center'})", {_ELEMENT: element})
        self._post(f"/element/{element}/click")

    def type(self, css: str, text: str) -> None:
        """In place of what is there."""
        self.click(css)
        self._post(f"/element/{self._element(css)}/value", text=f"\ue009a\ue000{text}\ue004")  # Ctrl A … Tab

    def until(self, source: str, *args, seconds: float = 15) -> Any:
        """Wait until an expression is true."""
        deadline = time.monotonic() + seconds
        while not (value := self.script(source, *args)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{source} {args}")
            time.sleep(0.05)
        return value

    def inject(self, *sources: str) -> None:
        """Run scripts as a page's own, one after the other."""
        for source in sources:
            add = "const made = document.createElement('script'); made.textContent = arguments[0];"
            self._post("/execute/sync", script=f"{add} document.head.append(made)", args=[source])

    def keys(self, css: str, keys: str) -> None:
        self._post(f"/element/{self._element(css)}/value", text=keys)

    def size(self, width: int, height: int) -> None:
        """Of the window, in pixels."""
        self._post("/window/rect", width=width, height=height)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._http.get("/screenshot").json()["value"]))


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """``profile`` is an empty folder. Whatever happens, nothing of it runs any longer afterwards."""
    # Closing its input ends the whole group, and so does the end of this process, however it comes.
    driver = subprocess.Popen(
        ["sh", "-c", '"$0" --port=0 & cat > /dev/null; kill -KILL 0', CHROMEDRIVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    too_late = threading.Timer(60, driver.stdin.close)  # or a driver that says nothing would be listened to for ever
    too_late.daemon = True
    too_late.start()
    try:
        line = next(line for line in driver.stdout if "started successfully on port" in line)
        too_late.cancel()
        port = line.strip().rstrip(".").rpartition(" ")[2]
        url = f"http://127.0.0.1:{port}"
        options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={profile}"]}
        wanted = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
        answer = httpx.post(f"{url}/session", json=wanted, timeout=60, trust_env=False).json()["value"]
        if "sessionId" not in answer:
            raise RuntimeError(answer["message"])
        session = f"{url}/session/{answer['sessionId']}"
        try:
            yield Browser(session)
        finally:
            with suppress(httpx.HTTPError):
                httpx.delete(session, timeout=10, trust_env=False)
    finally:
        too_late.cancel()
        driver.stdin.close()
        driver.wait(timeout=10)
        driver.stdout.close()
