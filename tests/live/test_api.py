"""The API of a real WebUI: our own routes, infotexts of requests and files, what stays on the disk.

WEBUI_USER  user:password, where it was started with --api-auth; then routes are asked with and without them.
"""

import base64
import json
import os
import threading
import time

import httpx
import jsonschema
import pytest

from tests.live.conftest import decoded, wanted

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("unchanged")]

EVERYTHING = {
    "fps": 7.5,
    "video_length": 6,
    "batch_size": 5,
    "overlap": 2,
    "closed_loop": "N",
    "context_schedule": "static",
    "long_clips": "windows",
    "motion_effect": "0: 0.5, 100% smooth: 1",
    "motion_blocks": "down 0: 0.5, mid: 1",
    "noise_kind": "mixed",
    "noise_share": 0.25,
    "freeinit_enable": True,
    "freeinit_iters": 2,
    "format": ["MP4"],
}


def info_of(answer) -> dict:
    assert answer.status_code == 200, answer.text
    return json.loads(answer.json()["info"])


def route(webui, name: str, **how) -> httpx.Response:
    method = "POST" if name == "infotext" else "GET"
    return httpx.request(method, f"{webui.url}/animatediff/v1/{name}", timeout=600, **how)


def test_the_schema_allows_what_works(webui):
    schema = route(webui, "schema").json()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(EVERYTHING, schema)
    assert webui.motion_module in schema["properties"]["model"]["examples"]


def test_the_motion_module_is_listed_and_fits(webui):
    listed = {module["name"]: module for module in route(webui, "motion-modules", params={"hash": True}).json()}
    module = listed[webui.motion_module]
    assert module["problem"] is None
    assert module["fits_loaded_checkpoint"] is True
    assert f"mm_hash: {module['hash']}," in info_of(webui.animate())["infotexts"][0]
    other = os.environ.get("WEBUI_OTHER_MODULE")
    assert other is None or listed[other]["fits_loaded_checkpoint"] is False


def test_routes_want_the_password_of_the_api(webui):
    user = tuple(wanted("WEBUI_USER").split(":"))
    for name in ("schema", "motion-modules", "job", "infotext"):
        assert route(webui, name).status_code == 401
        assert route(webui, name, auth=user).status_code in (200, 422)


def test_the_job_is_followed_to_its_end(webui):
    answers = []
    thread = threading.Thread(
        target=lambda: answers.append(
            webui.animate(animation={"video_length": 12, "long_clips": "windows", "request_id": "live-1"}, steps=20)
        ),
        daemon=True,
    )
    thread.start()
    seen, deadline = [], time.monotonic() + 300
    while thread.is_alive() and time.monotonic() < deadline:
        job = route(webui, "job").json()
        if job["active"] and job["request_id"] == "live-1":
            seen.append(job)
        thread.join(timeout=0.02)
    assert answers[0].status_code == 200
    sampling = [job for job in seen if job["stage"] == "sampling" and job["step"]]
    steps = [job["step"] for job in sampling]
    assert steps == sorted(steps)
    assert steps[-1] > steps[0]
    assert {(job["steps"], job["frames"]) for job in sampling} == {(20, 12)}
    assert max(job["windows"] or 1 for job in sampling) > 1
    assert route(webui, "job").json() == {"active": False, "stage": "idle"}


def test_a_job_that_failed_is_over(webui):
    assert webui.animate(animation={"model": "no such.safetensors"}).status_code == 422
    assert route(webui, "job").json()["active"] is False


def test_the_infotext_of_a_request_restores_everything(webui):
    made = webui.animate(animation=EVERYTHING | {"format": ["GIF"]})
    text = info_of(made)["infotexts"][0]
    again = webui.post("txt2img", infotext=text)
    assert info_of(again)["infotexts"][0] == text
    assert again.json()["images"] == made.json()["images"]
    longer = webui.post("txt2img", infotext=text, alwayson_scripts={"AnimateDiff": {"args": [{"video_length": 8}]}})
    assert decoded(longer.json()["images"][0], ".gif").num_frames == 8


@pytest.mark.parametrize("name", ["GIF", "MP4", "WEBP", "WEBM", "Frame"])
def test_the_infotext_of_a_file_is_that_of_the_request(webui, name):
    made = webui.animate(animation={**EVERYTHING, "format": [name]})
    content = base64.b64decode(made.json()["images"][0])
    found = route(webui, "infotext", content=content).json()
    assert found["infotext"] == info_of(made)["infotexts"][0]
    expected = EVERYTHING | ({} if name == "Frame" else {"format": [name]})
    expected = {key: value for key, value in expected.items() if key != "format" or name != "Frame"}
    assert found["arguments"].items() >= expected.items()
    again = webui.animate(animation={**found["arguments"], "format": [name]})
    assert info_of(again)["infotexts"] == info_of(made)["infotexts"]
    if name not in ("MP4", "WEBM"):  # their encoders of several threads do not give the same bytes
        assert again.json()["images"][:1] == made.json()["images"][:1]


def test_a_checkpoint_of_the_request_counts_and_goes_again(webui):
    name = wanted("WEBUI_SECOND_CHECKPOINT")
    gif = {"animation": {"format": ["GIF"]}}
    plain, other = webui.animate(**gif), webui.animate(**gif, override_settings={"sd_model_checkpoint": name})
    assert plain.json()["images"] != other.json()["images"]
    assert webui.animate(**gif).json()["images"] == plain.json()["images"]


def test_mp4_alone_is_one_file(webui):
    (video,) = webui.animate(animation={"format": ["MP4"]}).json()["images"]
    assert decoded(video, ".mp4").num_frames == 6


def test_a_service_can_see_what_was_ignored(webui):
    said = info_of(webui.animate(animation={"no_such_key": 1}))["extra_generation_params"]
    assert "no_such_key" in " ".join(said["AnimateDiff comments"])


def test_messages_tell_no_folder(webui):
    for name in ("no such.safetensors", "../../../config.json"):
        told = webui.animate(animation={"model": name}).json()["detail"]
        assert "was not found in" in told
        assert "/" not in told.replace(name, "").partition("choose from")[0]
        assert ":\\" not in told
