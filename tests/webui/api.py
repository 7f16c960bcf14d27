"""The WebUI's API in miniature, over the same requests: what modules/api/api.py of WebUI 1.10.1 makes of them."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import compare_digest

import gradio as gr
import httpx
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from tests.webui.host import Host

SMALL = {"width": 32, "height": 32, "steps": 2, "hr_second_pass_steps": 2}
"""The host draws small, whatever a request asks for."""
_IGNORED = ("sampler_name", "scheduler", "save_images", "send_images", "alwayson_scripts", "infotext", "force_task_id")


class Api:
    def __init__(self, host: Host, app: FastAPI, auth: str | None = None):
        self.host, self.app, self._lock = host, app, threading.Lock()
        self._user, _, self._password = (auth or "").partition(":")
        guards = [Depends(self._guard)] if auth else []
        self._fields, self._defaults = {}, {}
        for tab in ("txt2img", "img2img"):
            with gr.Blocks(analytics_enabled=False):  # which asks the network
                components = host.script.ui(tab == "img2img")
            self._defaults[tab] = [component.value for component in components]
            paste = host.module("infotext_utils").PasteField
            targets = [paste(*field) for field in host.script.infotext_fields]
            self._fields[tab] = [(components.index(field.component), field) for field in targets]
            app.add_api_route(f"/sdapi/v1/{tab}", self._endpoint(tab), methods=["POST"], dependencies=guards)
        app.add_api_route("/sdapi/v1/progress", self._progress, methods=["GET"], dependencies=guards)
        app.add_exception_handler(HTTPException, self._failed)
        host.callbacks.call("app_started", None, app)

    def _guard(self, given: HTTPBasicCredentials = Depends(HTTPBasic())):  # noqa: B008
        if not (given.username == self._user and compare_digest(given.password, self._password)):
            raise HTTPException(401, "Incorrect username or password", headers={"WWW-Authenticate": "Basic"})

    @staticmethod
    def _failed(_request: Request, problem: HTTPException):
        told = {"error": type(problem).__name__, "detail": problem.detail, "body": "", "errors": str(problem)}
        return JSONResponse(told, status_code=problem.status_code)

    def _progress(self):
        return {"progress": 0.0}

    def _endpoint(self, tab: str):
        def generate(body: dict):
            with self._lock:
                return self._generated(tab, body)

        return generate

    def _arguments(self, tab: str, body: dict) -> list:
        arguments = list(self._defaults[tab])
        if body.get("infotext"):
            entries = self.host.module("infotext_utils").parse_generation_parameters(body["infotext"])
            for index, field in self._fields[tab]:
                value = field.function(entries) if field.function else entries.get(field.label)
                kind = type(field.component.value)
                if value is not None and kind is not type(None):
                    arguments[index] = value if isinstance(value, kind) else kind(value)
        for name, given in body.get("alwayson_scripts", {}).items():
            if name.lower() != self.host.script.title().lower():
                raise HTTPException(422, f"always on script {name} not found")
            arguments[: len(given["args"])] = given["args"]
        return arguments

    def _generated(self, tab: str, body: dict) -> dict:
        arguments = self._arguments(tab, body)
        fields = {name: value for name, value in body.items() if name not in _IGNORED}
        fields |= {name: value for name, value in SMALL.items() if name in fields or name in ("width", "height")}
        if tab == "img2img":
            decode = self.host.module("api.api").decode_base64_to_image
            fields["init_images"] = [decode(image) for image in fields["init_images"]]
        p = self.host.p(args=arguments, do_not_save_samples=not body.get("save_images"), **fields)
        processed = self.host.run(p)
        images = [self._encoded(image) for image in processed.images] if body.get("send_images", True) else []
        info = {name: getattr(processed, name) for name in ("infotexts", "all_seeds", "extra_generation_params")}
        return {"images": images, "parameters": body, "info": json.dumps(info)}

    @staticmethod
    def _encoded(image) -> str:
        data = io.BytesIO()
        image.save(data, format="PNG")
        return base64.b64encode(data.getvalue()).decode()


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Serves on a free port of this machine for as long as the ``with`` lasts; yields the address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            deadline = time.monotonic() + 10
            while not server.started and time.monotonic() < deadline:
                time.sleep(0.01)
            assert server.started, "the server did not start"
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=10)


class Client:
    """Requests without a network: httpx into the application itself."""

    def __init__(self, api: Api, auth: tuple[str, str] | None = None):
        from fastapi.testclient import TestClient

        self._client = TestClient(api.app, raise_server_exceptions=False)
        self._auth = auth

    def get(self, path: str) -> httpx.Response:
        return self._client.get(path, auth=self._auth)

    def post(self, path: str, **how) -> httpx.Response:
        return self._client.post(path, auth=self._auth, **how)
