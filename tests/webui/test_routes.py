"""Our own routes, and what requests to the WebUI's answer."""

import base64
import io
import json
from types import SimpleNamespace

import pytest
from fastapi import FastAPI, HTTPException
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from animatediff_ext.media import WRITERS, probe
from animatediff_ext.params import SETTINGS
from tests.webui.api import Api, Client
from tests.webui.generations import at_step
from tests.webui.host import NUM_FRAMES, as_base64, picture, request

OURS = [("get", "schema"), ("get", "motion-modules"), ("get", "job"), ("post", "infotext")]
TEXT = 'a cat\nSteps: 2, Sampler: Euler, Seed: 7, AnimateDiff: "model: v2.safetensors, video_length: 3, fps: 7.5"'


@pytest.fixture
def api(host):
    return Client(Api(host, FastAPI()))


def ask(api, tab="txt2img", animation=None, **body):
    body = {"prompt": "a cat", "seed": 7, **body}
    if animation is not None:
        body["alwayson_scripts"] = {"AnimateDiff": {"args": [animation]}}
    return api.post(f"/sdapi/v1/{tab}", json=body)


def ours(api, name):
    answer = api.get(f"/animatediff/v1/{name}")
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(("method", "name"), OURS)
def test_routes_stand_behind_what_guards_the_api(host, method, name):
    api = Api(host, FastAPI(), auth="user:secret")
    stranger, user = Client(api), Client(api, auth=("user", "secret"))
    assert getattr(stranger, method)(f"/animatediff/v1/{name}").status_code == 401
    assert getattr(user, method)(f"/animatediff/v1/{name}").status_code in (200, 422)


@pytest.mark.parametrize("page", [object(), None])
def test_without_the_api_there_is_the_pages_route_alone_and_without_a_page_none(host, page):
    app = FastAPI()
    before = len(app.routes)
    host.callbacks.call("app_started", page, app)
    assert [route.path for route in app.routes[before:]] == ["/animatediff/page/infotext"] * bool(page)


@pytest.mark.parametrize("logged_in", [False, True])
def test_the_pages_route_stands_behind_the_pages_login(host, logged_in):
    app = FastAPI()

    @app.get("/login_check")
    def login_check():
        if not logged_in:
            raise HTTPException(status_code=401)

    host.callbacks.call("app_started", object(), app)
    answer = Client(SimpleNamespace(app=app)).post("/animatediff/page/infotext", json={"infotext": TEXT})
    assert answer.status_code == (200 if logged_in else 401)


def test_the_schema_names_the_motion_modules_there_are(host, api):
    properties = ours(api, "schema")["properties"]
    assert list(properties) == list(SETTINGS)
    assert properties["model"]["examples"] == host.webui("models").names()


def test_motion_modules_say_what_they_are_and_what_they_fit(host, api):
    found = {entry["name"]: entry for entry in ours(api, "motion-modules")}
    assert list(found) == ["other layout.safetensors", "v1.safetensors", "v2.safetensors"]
    v2 = found["v2.safetensors"]
    assert (v2["family"], v2["fits"], v2["problem"], v2["hash"]) == ("v2", "SD 1.5", None, None)
    assert v2["fits_loaded_checkpoint"] is True
    assert found["other layout.safetensors"]["fits_loaded_checkpoint"] is False
    used = host.generate({}).infotexts[0]
    found = {entry["name"]: entry["hash"] for entry in ours(api, "motion-modules")}
    assert found["v1.safetensors"] is None, "nothing is read for it"
    assert f"mm_hash: {found['v2.safetensors']}," in used
    assert all(entry["hash"] for entry in ours(api, "motion-modules?hash=true"))


def test_files_that_are_no_motion_modules_are_listed_with_their_problem(host, api, tmp_path):
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "page.safetensors").write_text("<html>not found</html>")
    (folder / "half.ckpt").write_bytes(b"PK\x03\x04")
    host.opts.data["animatediff_model_path"] = str(folder)
    for entry in ours(api, "motion-modules"):
        assert entry["name"] in entry["problem"]
        assert str(tmp_path) not in entry["problem"]


def test_the_job_says_what_the_animation_does(host, api):
    idle = {"active": False, "stage": "idle"}
    seen = []
    host.callbacks.on_cfg_denoiser(lambda _params: seen.append(ours(api, "job")))
    at_step(host, 0, lambda params: seen.append(params))
    watch = SimpleNamespace(
        args_from=0, args_to=0, postprocess=lambda *_: None, postprocess_batch=lambda *_, **__: seen.append(job())
    )

    def job():
        return ours(api, "job")

    unet_forward = host.unet.forward
    assert job() == idle
    windows = {"video_length": 6, "batch_size": 4, "long_clips": "windows", "overlap": 1, "request_id": "job-1"}
    p = host.p(windows, n_iter=2, scripts=[Quiet(watch)])
    sampled = p.sample
    p.sample = lambda **how: (seen.append("sample"), sampled(**how))[1]
    host.run(p)
    assert job() == idle
    assert host.unet.forward == unet_forward
    steps = [one for one in seen if isinstance(one, dict) and one["stage"] == "sampling"]
    assert [(one["video"], one["step"]) for one in steps] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    for one in steps:
        assert (one["active"], one["videos"], one["frames"], one["steps"]) == (True, 2, 6, 2)
        assert one["request_id"] == "job-1"
    assert steps[1]["windows"] == steps[1]["window"] > 1, "the last of the step before"
    decoding = [one for one in seen if isinstance(one, dict) and one["stage"] == "decoding"]
    assert [one["video"] for one in decoding] == [1, 2]
    assert decoding[0]["step"] is None


class Quiet:
    """A script of another extension that only watches."""

    def __init__(self, watch):
        vars(self).update(vars(watch))

    def __getattr__(self, _hook):
        return lambda *_, **__: None


def test_a_job_that_failed_is_over(host, api):
    def fail(_params):
        raise MemoryError

    at_step(host, 0, lambda _params: seen.append(ours(api, "job")["active"]))
    seen = []
    p = host.p({})
    original = p.sample

    def sample(**how):
        original(**how)
        raise MemoryError

    p.sample = sample
    with pytest.raises(host.error):
        host.run(p)
    assert seen == [True]
    assert ours(api, "job") == {"active": False, "stage": "idle"}
    host.shared.state.begin()
    assert ours(api, "job")["active"] is False, "what runs now is something else"


def test_mp4_alone_leaves_nothing_on_the_disk(host, api, tmp_path):
    answer = ask(api, animation=request(format=["MP4"])).json()
    (video,) = answer["images"]
    (tmp_path / "clip.mp4").write_bytes(base64.b64decode(video))
    assert probe(tmp_path / "clip.mp4").num_frames == NUM_FRAMES
    assert host.files() == []
    assert list(host.temporary.iterdir()) == []
    ask(api, animation=request(format=["MP4"]), save_images=True)
    assert host.files() == ["AnimateDiff/00000-7.mp4"]


def test_a_checkpoint_of_the_request_counts(host, api):
    first, second = (
        ask(api, animation=request(), override_settings={"sd_model_checkpoint": name}).json()["images"]
        for name in ("base", "second")
    )
    assert first != second
    assert host.opts.data["sd_model_checkpoint"] == "base"


def test_the_infotext_of_a_request_restores_the_animation(api):
    asked = request(fps=7.5, motion_effect="0: 0.5, 2: 1", freeinit_enable=False, format=["GIF"], noise_kind="shared")
    made = ask(api, animation=asked).json()
    text = json.loads(made["info"])["infotexts"][0]
    again = ask(api, infotext=text)
    assert again.json()["images"] == made["images"]
    assert json.loads(again.json()["info"])["infotexts"][0] == text
    mixed = ask(api, animation={"video_length": 3, "format": ["Frame"]}, infotext=text).json()
    assert len(mixed["images"]) == 1 + 3 - 1, "what the request says itself wins"
    still = ask(api, animation={"enable": False}, infotext=text).json()
    assert "AnimateDiff" not in json.loads(still["info"])["infotexts"][0]


def test_an_infotext_of_a_still_does_not_animate(api):
    answer = ask(api, infotext="a cat\nSteps: 2, Sampler: Euler, Seed: 7").json()
    assert "AnimateDiff" not in json.loads(answer["info"])["infotexts"][0]


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_mistakes_get_422_and_no_folder_of_the_server(api, host, tab, tmp_path):
    more = {"init_images": [as_base64(picture())]} if tab == "img2img" else {}
    answer = ask(api, tab, animation=request(model="no such.safetensors"), **more)
    assert answer.status_code == 422
    assert "'no such.safetensors' was not found in" in answer.json()["detail"]
    assert "choose from" in answer.json()["detail"]
    for folder in (host.opts.data["animatediff_model_path"], str(tmp_path)):
        assert folder not in answer.text


def test_there_need_be_no_folder_of_loras(api, host):
    """The WebUI's Lora extension makes the option."""
    del host.shared.cmd_opts.lora_dir
    assert ask(api, animation=request(model="no such.safetensors")).status_code == 422


@pytest.mark.parametrize("path", ["{}/a b.ckpt is", "{}\\a b.ckpt is", "'{}/a b.ckpt' is", "{}", "{}, {}/a b.ckpt."])
def test_folders_of_the_server_are_taken_out_of_messages(host, tmp_path, path):
    without = host.webui("folders").without_folders
    for folder in (host.opts.data["animatediff_model_path"], str(host.output), str(host.temporary)):
        told = without(path.format(folder, folder), str(host.output))
        assert folder not in told
        assert told == path.replace("{}/", "").replace("{}\\", "").format(folder.rpartition("/")[2])
    other = f"{host.output}-2/a.ckpt"
    assert other.endswith(without(other, str(host.output))), "a folder that only begins the same"


def files(tmp_path, text):
    for name, ending in (("GIF", ".gif"), ("MP4", ".mp4"), ("WEBP", ".webp"), ("WEBM", ".webm")):
        yield WRITERS[name]([picture()] * 3, tmp_path / f"clip{ending}", fps=8, comment=text).read_bytes()
    data, info = io.BytesIO(), PngInfo()
    info.add_text("parameters", text)
    picture().save(data, "PNG", pnginfo=info)
    yield data.getvalue()


def test_the_infotext_of_any_file_comes_with_its_arguments(api, tmp_path):
    for content in files(tmp_path, TEXT):
        encoded = base64.b64encode(content).decode()
        for how in (
            {"content": content},
            {"json": {"file": encoded}},
            {"json": {"file": f"data:video/mp4;base64,{encoded}"}},
            {"json": {"infotext": TEXT}},
        ):
            answer = api.post("/animatediff/v1/infotext", **how).json()
            assert answer["infotext"] == TEXT
            arguments = answer["arguments"]
            assert (arguments["enable"], arguments["video_length"], arguments["fps"]) == (True, 3, 7.5)
    frames = ask(api, animation={**arguments, "format": ["Frame"]}).json()["images"]
    assert len(frames) == 3


def test_a_file_without_an_infotext_says_so(api, tmp_path):
    for content in files(tmp_path, ""):
        answer = api.post("/animatediff/v1/infotext", content=content).json()
        assert answer == {"infotext": "", "arguments": {}}


@pytest.mark.parametrize(
    "how",
    [
        {"content": b""},
        {"content": b"no clip at all"},
        {"content": b"\x89PNG\r\n\x1a\nbroken"},
        {"json": {}},
        {"json": []},
        {"json": {"file": 3}},
        {"json": {"file": "§"}},
        {"json": {"infotext": 3}},
    ],
)
def test_what_is_no_file_gets_a_sentence(api, how):
    answer = api.post("/animatediff/v1/infotext", **how)
    assert answer.status_code == 422
    assert "/" not in answer.json()["detail"].replace("MP4/", "")
    assert len(answer.json()["detail"].split()) > 5


def test_what_the_page_would_say_is_in_the_info(api):
    def said(**animation):
        return json.loads(ask(api, animation=request(**animation)).json()["info"])["extra_generation_params"]

    assert "'reverse'" in " ".join(said(reverse=[])["AnimateDiff comments"])
    assert "AnimateDiff comments" not in said()


def test_pictures_stay_pictures(api):
    """Frames that were asked for are readable by any client."""
    frames = ask(api, animation=request()).json()["images"]
    assert [Image.open(io.BytesIO(base64.b64decode(one))).format for one in frames] == ["PNG"] * NUM_FRAMES
