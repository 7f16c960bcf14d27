"""A running WebUI with this extension, reached over its API.

WEBUI_URL                 where it listens, e.g. http://127.0.0.1:7860
WEBUI_MOTION_MODULE       a motion module in its list that fits the checkpoint in use
WEBUI_SECOND_CHECKPOINT   another checkpoint that the module fits (hires fix, refiner, override); skipped without
WEBUI_OTHER_LAYOUT        a checkpoint with a UNet of another shape, and …
WEBUI_OTHER_MODULE        … a motion module that fits that one; skipped without
WEBUI_LORA                a LoRA for the checkpoint in use; skipped without
WEBUI_MOTION_LORA         a motion LoRA that fits the motion module; skipped without
"""

import base64
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from animatediff_ext.media import probe

STILL = {
    "prompt": "a red cat",
    "negative_prompt": "blue",
    "width": 64,
    "height": 64,
    "steps": 3,
    "seed": 7,
    "cfg_scale": 5,
}


def pytest_collection_modifyitems(items):
    """One request alone may take ten minutes, on a machine without a GPU."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(900))


@dataclass
class WebUI:
    url: str
    motion_module: str

    def post(self, path: str, **body) -> httpx.Response:
        return httpx.post(f"{self.url}/sdapi/v1/{path}", json=body, timeout=600)

    def get(self, path: str):
        return httpx.get(f"{self.url}{path}", timeout=60).json()

    def still(self, **changes) -> list[str]:
        answer = self.post("txt2img", **{**STILL, "sampler_name": "Euler a", **changes})
        answer.raise_for_status()
        return answer.json()["images"]

    def animate(self, path: str = "txt2img", animation: dict | None = None, **changes) -> httpx.Response:
        arguments = {
            "enable": True,
            "model": self.motion_module,
            "video_length": 6,
            "batch_size": 8,
            "fps": 8,
            "format": ["MP4"],
            **(animation or {}),
        }
        body = {**STILL, "sampler_name": "Euler a", **changes}
        return self.post(path, **body, alwayson_scripts={"AnimateDiff": {"args": [arguments]}})


def decoded(image: str, ending: str):
    """`ClipInfo` of a base64 answer."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"answer{ending}"
        path.write_bytes(base64.b64decode(image))
        return probe(path)


def wanted(variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set")
    return value


OVERRIDDEN = ("batch_cond_uncond", "skip_early_cond", "sd_noise_schedule")
"""Settings that requests override here. After a request the WebUI puts back only those that it has been told once."""


@pytest.fixture(scope="session")
def webui() -> WebUI:
    running = WebUI(wanted("WEBUI_URL").rstrip("/"), wanted("WEBUI_MOTION_MODULE"))
    now = running.get("/sdapi/v1/options")
    running.post("options", **{name: now[name] for name in OVERRIDDEN}).raise_for_status()
    return running


@pytest.fixture
def unchanged(webui):
    """The same plain still before and after: the WebUI is exactly as it was."""
    before = webui.still()
    yield
    assert webui.still() == before, "plain stills changed"
