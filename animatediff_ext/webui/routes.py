"""Our own routes beside those of the WebUI's API: what can be asked for, what there is, and what runs.

GET  /animatediff/v1/schema           JSON Schema of the arguments
GET  /animatediff/v1/motion-modules   the list, with family, hash and what each fits
GET  /animatediff/v1/job              what the running animation does
POST /animatediff/v1/infotext         a file, or an infotext → infotext and arguments
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.concurrency import run_in_threadpool

from animatediff_ext.media import MediaError
from animatediff_ext.schema import schema
from animatediff_ext.webui import infotext, job, models, module_list
from animatediff_ext.webui.errors import AnimateDiffError

PREFIX = "/animatediff/v1"
_OF_THE_API = "/sdapi/v1/progress"
"""A route that the WebUI's API has in any case."""
_LOGIN_OF_THE_PAGE = "/login_check"
"""Gradio's route that answers 401 to who has to log in first."""
_FOR_THE_PAGE = "/animatediff/page/infotext"
"""What `POST infotext` does, for PNG Info, which is there without the API too."""


def register(_demo, app: FastAPI) -> None:
    """Add the routes; callback of the WebUI when its server runs.

    They are there where the API is (``--api``), behind what guards it (``--api-auth``). The page has its own, behind
    its own login.
    """
    if _demo is not None:  # without a page nobody could log in to it
        _register_for_the_page(app)
    guarded = _route(app, _OF_THE_API)
    if guarded is None:
        return
    for method, name, endpoint in (
        ("GET", "schema", arguments_schema),
        ("GET", "motion-modules", motion_modules),
        ("GET", "job", running_job),
        ("POST", "infotext", read_infotext),
    ):
        app.add_api_route(
            f"{PREFIX}/{name}", endpoint, methods=[method], dependencies=guarded.dependencies, tags=["AnimateDiff"]
        )


def _register_for_the_page(app: FastAPI) -> None:
    login = _route(app, _LOGIN_OF_THE_PAGE)
    guards = [Depends(login.endpoint)] if login else []
    app.add_api_route(_FOR_THE_PAGE, read_infotext, methods=["POST"], dependencies=guards, tags=["AnimateDiff"])


def _route(app: FastAPI, path: str):
    """The one of that path, or None; what is mounted has none."""
    return next((route for route in app.routes if getattr(route, "path", None) == path), None)


def arguments_schema() -> dict[str, Any]:
    """JSON Schema of the dictionary in `alwayson_scripts.AnimateDiff.args`."""
    described = schema()
    for name in ("model", "second_model"):
        described["properties"][name]["examples"] = models.names()
    return described


def motion_modules(hash: bool = False) -> list[dict[str, Any]]:
    """The motion modules on disk. Hashes that are not known yet are null, unless `hash=true` asks to compute them."""
    return module_list.listed(with_hash=hash)


def running_job() -> dict[str, Any]:
    """What the running animation does; `{"active": false}` if there is none."""
    return job.current()


async def read_infotext(request: Request) -> dict[str, Any]:
    """The infotext of a picture or clip, and the arguments that make the animation again.

    The body is the file itself, or JSON: `{"file": "<base64>"}`, or `{"infotext": "…"}` for the arguments alone.
    """
    body = await request.body()
    is_json = request.headers.get("content-type", "").startswith("application/json")
    return await run_in_threadpool(_read, body, is_json)


def _read(body: bytes, is_json: bool) -> dict[str, Any]:
    try:
        text = _asked(body) if is_json else infotext.infotext_of(body)
    except MediaError as problem:
        raise AnimateDiffError(str(problem)) from problem
    return {"infotext": text, "arguments": infotext.arguments_of(text)}


def _asked(body: bytes) -> str:
    try:
        given = json.loads(body)
        if isinstance(given.get("infotext"), str):
            return given["infotext"]
        content = base64.b64decode(given["file"].partition("base64,")[2] or given["file"], validate=True)
    except (AttributeError, KeyError, binascii.Error, ValueError) as problem:
        raise AnimateDiffError(
            'The body is neither a file nor what it should be in JSON: send {"file": "<base64>"} or {"infotext": "…"}.'
        ) from problem
    return infotext.infotext_of(content)
