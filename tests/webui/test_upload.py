"""Videos in a bucket."""

import datetime
import importlib
import json
import os
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.webui.generations import at_step
from tests.webui.host import is_file
from tests.webui.s3_server import ACCESS, SECRET, s3_server

pytest.importorskip("boto3.s3.transfer", reason="S3 upload is an optional extra")
TODAY = datetime.date.today().isoformat()


@pytest.fixture
def server():
    with s3_server() as server:
        yield server


@pytest.fixture
def uploading(host, server, monkeypatch):
    """A host whose settings name the server."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(host.webui("s3"), "_TRIALS", 1)
    host.opts.data.update(
        animatediff_s3_enable=True,
        animatediff_s3_host="http://127.0.0.1",
        animatediff_s3_port=str(server.port),
        animatediff_s3_storge_bucket="videos",
    )
    host.opts.set("animatediff_s3_access_key", ACCESS)
    host.opts.set("animatediff_s3_secret_key", SECRET)
    return host


def generated(host, formats=("GIF", "MP4"), **fields):
    """What was said, and the answer."""
    p = host.p({"format": list(formats)}, **fields)
    processed = host.run(p)
    return list(p.comments), processed


def test_videos_are_in_the_bucket_as_they_are_in_the_folder(uploading, server):
    said, processed = generated(uploading, ["GIF", "MP4", "WEBP", "WEBM", "TXT", "PNG"])
    folder = uploading.output / "AnimateDiff"
    kinds = {".gif": "image/gif", ".mp4": "video/mp4", ".webp": "image/webp", ".webm": "video/webm"}
    expected = {
        f"{TODAY}/00000-7{ending}": (kind, (folder / TODAY / f"00000-7{ending}").read_bytes())
        for ending, kind in kinds.items()
    }
    assert server.buckets == {"videos": expected}, "a bucket that was not there is made"
    (sentence,) = said
    assert f"http://127.0.0.1:{server.port}/videos/{TODAY}/00000-7.mp4" in sentence
    assert sentence in processed.comments


def test_a_bucket_that_is_there_keeps_what_is_in_it(uploading, server):
    server.buckets["videos"] = {"old": ("text/plain", b"x")}
    generated(uploading, ["GIF"])
    assert sorted(server.buckets["videos"]) == [f"{TODAY}/00000-7.gif", "old"]


def test_no_video_replaces_another_one(uploading, server, tmp_path):
    """Those of txt2img and img2img are numbered apart, in folders of their own, and files may go from there."""
    generated(uploading, ["GIF"])
    before = dict(server.buckets["videos"])
    for number, folder in enumerate(("img2img", "emptied"), start=1):
        uploading.output = tmp_path / folder
        said, _ = generated(uploading, ["GIF", "MP4"])
        keys = [f"{TODAY}/00000-7-{number}{ending}" for ending in (".gif", ".mp4")]
        assert [key for key in server.buckets["videos"] if key not in before] == keys
        assert all(f"/videos/{key}" in said[0] for key in keys), "that is where they are"
        assert {key: server.buckets["videos"][key] for key in before} == before
        before = dict(server.buckets["videos"])


def test_who_may_only_write_uploads_all_the_same(uploading, server):
    server.buckets["videos"], server.blind = {}, 403
    generated(uploading, ["GIF"])
    assert list(server.buckets["videos"]) == [f"{TODAY}/00000-7.gif"]


def test_a_server_that_cannot_say_what_is_there_gets_nothing(uploading, server):
    server.buckets["videos"], server.blind = {}, 503
    (sentence,), processed = generated(uploading, ["GIF"])
    assert "503" in sentence
    assert len(processed.images) == 1
    assert server.buckets["videos"] == {}


def test_a_server_that_says_yes_to_everything_costs_no_video(uploading, server):
    server.buckets["videos"], server.blind = {}, 200
    (sentence,), processed = generated(uploading, ["GIF"])
    assert "says yes to everything" in sentence
    assert len(processed.images) == 1


def test_a_bucket_is_made_where_the_account_is(host):
    s3, made = host.webui("s3"), []

    class Refused(Exception):
        response = {"Error": {"Code": "404"}}

    def head(**_):
        raise Refused

    for region, endpoint in (("eu-central-1", None), ("us-east-1", None), ("eu-central-1", "https://s3.example.com")):
        client = SimpleNamespace(
            head_bucket=head, create_bucket=lambda **how: made.append(how), meta=SimpleNamespace(region_name=region)
        )
        s3._make_sure_of(client, s3.Bucket(name="videos", endpoint=endpoint), Refused)
    assert made == [
        {"Bucket": "videos", "CreateBucketConfiguration": {"LocationConstraint": "eu-central-1"}},
        {"Bucket": "videos"},
        {"Bucket": "videos"},
    ]


def test_the_page_s_server_hands_out_no_secrets(uploading, tmp_path):
    """Gradio refuses what begins with a point (routes.py, file: is_dotfile)."""
    uploading.opts.set("animatediff_s3_secret_key", SECRET)
    holding = [path.name for path in tmp_path.rglob("*") if path.is_file() and SECRET in path.read_text()]
    assert holding
    assert all(name.startswith(".") for name in holding)


def test_secrets_of_the_former_file_are_moved(host):
    sealed = host.webui("sealed")
    former = sealed._path().with_name("animatediff-secrets.json")
    former.write_text(json.dumps({"animatediff_s3_secret_key": SECRET}))
    host.opts.data["animatediff_s3_secret_key"] = "(kept in animatediff-secrets.json)"
    host.callbacks.call("ui_settings")
    assert not former.exists()
    assert sealed.opened("animatediff_s3_secret_key") == SECRET


@pytest.mark.parametrize("name", ["animatediff_s3_host", "animatediff_s3_port", "animatediff_s3_storge_bucket"])
def test_no_client_of_the_api_chooses_whom_the_keys_are_shown_to(host, name):
    host.callbacks.call("ui_settings")
    assert host.opts.data_labels[name].restrict_api


@pytest.mark.parametrize("formats", [["MP4"], ["WEBM", "TXT", "PNG"], ["GIF", "WEBP", "MP4", "WEBM"]])
def test_what_the_page_saves_nowhere_is_uploaded_all_the_same(uploading, server, formats):
    p = uploading.p({"format": formats}, api=False, override_settings={"samples_save": False})
    uploading.run(p)
    endings = {f".{name.lower()}" for name in formats} - {".txt", ".png"}
    assert {Path(key).suffix for key in server.buckets["videos"]} == endings
    assert "Uploaded to" in "".join(p.comments)
    assert uploading.files() == []


def test_what_is_kept_nowhere_else_is_uploaded_under_a_name_of_its_own(uploading, server):
    for _ in range(2):
        generated(uploading, ["GIF", "MP4"], do_not_save_samples=True)
    keys = sorted(server.buckets["videos"])
    assert len(keys) == 4
    assert all(key.startswith(f"{TODAY}/") and "-7." in key for key in keys)
    assert uploading.files() == []


def test_what_was_cut_short_is_not_uploaded(uploading, server):
    at_step(uploading, 0, lambda _params: setattr(uploading.shared.state, "interrupted", True))
    generated(uploading, ["GIF"])
    assert server.buckets == {}


def test_nothing_is_uploaded_unless_the_user_says_so(uploading, server):
    uploading.opts.data["animatediff_s3_enable"] = False
    assert generated(uploading)[0] == []
    assert server.buckets == {}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"animatediff_s3_secret_key": "wrong"}, "SignatureDoesNotMatch"),
        ({"animatediff_s3_port": "1"}, "Could not connect"),
        ({"animatediff_s3_port": "http"}, "S3 port is 'http': give a number"),
        ({"animatediff_s3_host": "ftp://x"}, "S3 host is 'ftp://x': give a name"),
        ({"animatediff_s3_storge_bucket": " "}, "no bucket"),
        ({"animatediff_s3_secret_key": ""}, "fill in both"),
        ({"animatediff_s3_host": "127.0.0.1"}, "write http:// in front"),
    ],
)
def test_a_problem_is_said_and_costs_no_video(uploading, caplog, settings, expected):
    for name, value in settings.items():
        uploading.opts.set(name, value)
    said, processed = generated(uploading)
    (sentence,) = said
    assert expected in sentence
    assert sentence.endswith("The videos were made all the same.")
    assert [is_file(image) for image in processed.images] == [True, True]
    assert uploading.files() == ["AnimateDiff/00000-7.gif", "AnimateDiff/00000-7.mp4"]
    assert expected in caplog.text


def test_secrets_are_in_no_message(uploading, server, caplog):
    """Not even where a server repeats them."""
    server.refused = "AccessDenied"
    said, processed = generated(uploading)
    assert "AccessDenied" in said[0]
    answer = json.dumps([said, processed.infotexts, processed.comments, str(processed.extra_generation_params)])
    for secret in (ACCESS, SECRET):
        assert secret not in answer
        assert secret not in caplog.text
    bucket = uploading.webui("upload")._bucket()
    assert bucket.secret_key == SECRET
    assert SECRET not in repr(bucket)


def test_secrets_are_in_no_answer_of_the_host(uploading, tmp_path):
    """It gives all settings to pages and clients."""
    assert ACCESS not in json.dumps(uploading.opts.data)
    assert SECRET not in json.dumps(uploading.opts.data)
    file = tmp_path / uploading.webui("sealed").FILE
    assert set(json.loads(file.read_text()).values()) == {ACCESS, SECRET}
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [file.name]


def test_secrets_of_the_old_extension_are_moved_at_the_start(host):
    host.opts.data["animatediff_s3_secret_key"] = "from config.json"
    host.callbacks.call("ui_settings")
    sealed = host.webui("sealed")
    assert host.opts.data["animatediff_s3_secret_key"] == sealed.MARK
    assert sealed.opened("animatediff_s3_secret_key") == "from config.json"
    saved = json.loads(Path(host.shared.config_filename).read_text())
    assert saved["animatediff_s3_secret_key"] == sealed.MARK, "in the file that they came from as well"


def test_a_file_of_settings_that_is_frozen_stays_as_it_is(host):
    host.shared.cmd_opts.freeze_settings = True
    host.opts.data["animatediff_s3_secret_key"] = "from config.json"
    host.callbacks.call("ui_settings")
    assert host.opts.data["animatediff_s3_secret_key"] == host.webui("sealed").MARK
    assert not Path(host.shared.config_filename).exists()


def test_a_start_without_secrets_leaves_those_of_another_instance(uploading, tmp_path):
    """Each has its own file of settings; the secrets are in one."""
    file = tmp_path / uploading.webui("sealed").FILE
    before = file.read_text()
    for name in ("animatediff_s3_access_key", "animatediff_s3_secret_key"):
        uploading.opts.data[name] = ""
    uploading.callbacks.call("ui_settings")
    assert file.read_text() == before


def test_a_secret_that_is_taken_out_is_forgotten(uploading, tmp_path):
    uploading.opts.set("animatediff_s3_secret_key", "")
    assert uploading.webui("sealed").opened("animatediff_s3_secret_key") == ""
    assert SECRET not in (tmp_path / uploading.webui("sealed").FILE).read_text()


def test_a_file_that_cannot_be_read_now_is_not_written_anew(uploading, tmp_path, monkeypatch, caplog):
    """A scanner may have it open for a moment."""
    file = tmp_path / uploading.webui("sealed").FILE
    before, real = file.read_text(), Path.read_text

    def read_text(path, **how):
        if path == file:
            raise PermissionError(13, "used by another process")
        return real(path, **how)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", read_text)
        uploading.opts.set("animatediff_s3_secret_key", "another")
    assert file.read_text() == before
    assert uploading.webui("sealed").opened("animatediff_s3_secret_key") == "another"
    assert "animatediff_s3_secret_key stays where all settings are" in caplog.text


def test_a_secret_that_cannot_be_moved_stays(host, caplog):
    host.shared.config_filename = os.path.join(os.devnull, "config.json")
    host.opts.set("animatediff_s3_secret_key", SECRET)
    assert host.webui("sealed").opened("animatediff_s3_secret_key") == SECRET
    assert "could not be written" in caplog.text
    assert SECRET not in caplog.text


def test_without_boto3_one_sentence_says_what_to_do(uploading, monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    said, processed = generated(uploading)
    assert "pip install boto3" in said[0]
    assert len(processed.images) == 2


@pytest.mark.parametrize(
    ("host_setting", "port", "expected"),
    [
        ("s3.example.com", "", "https://s3.example.com"),
        ("s3.example.com", "9000", "https://s3.example.com:9000"),
        ("http://s3.example.com", "9000", "http://s3.example.com:9000"),
        ("https://s3.example.com:9001/", "9000", "https://s3.example.com:9001"),
        ("[::1]", "9000", "https://[::1]:9000"),
        ("", "9000", None),
    ],
)
def test_https_is_what_a_name_means(stub_modules, host_setting, port, expected):
    s3 = importlib.import_module("animatediff_ext.webui.s3")
    assert s3.endpoint_of(host_setting, port) == expected


@pytest.mark.parametrize("name", ["https://", "https://user:password@s3.example.com", "s3.example.com:port", "a b://c"])
def test_a_host_that_is_none_is_refused(stub_modules, name):
    s3 = importlib.import_module("animatediff_ext.webui.s3")
    with pytest.raises(s3.S3Error, match="S3 host is"):
        s3.endpoint_of(name, "")
