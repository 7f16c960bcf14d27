"""*Download motion modules*: the list in the accordion, and the download behind its button."""

import threading
from dataclasses import replace

import gradio as gr
import pytest

from animatediff_ext.catalogue import KNOWN
from tests.catalogue.conftest import hub, known, module_bytes  # noqa: F401 (fixtures)
from tests.webui.browser import needs_chromium
from tests.webui.test_page import by_id, page, served  # noqa: F401 (a fixture)


@pytest.fixture
def get_models(host, tmp_path):
    """With an empty folder of the user's, and LoRAs of the WebUI's."""
    host.opts.data["animatediff_model_path"] = str(tmp_path / "modules")
    host.webui("models").EXTENSION = tmp_path / "extension"
    host.module("paths").models_path = str(tmp_path / "models")
    get_models = host.webui("get_models")
    yield get_models
    get_models.GETTING.stop()
    get_models.GETTING.wait(60)
    assert not get_models.GETTING.is_running


def finished(getting) -> str:
    getting.wait(60)
    assert not getting.is_running
    return getting.news


def test_files_go_where_the_webui_looks_for_them(host, get_models, tmp_path):
    places = get_models.places()
    assert places.for_new("motion-module") == tmp_path / "modules"
    assert places.for_new("motion-lora") == tmp_path / "models" / "Lora"
    assert places.for_new("sparsectrl") == tmp_path / "models" / "ControlNet"
    host.shared.cmd_opts.lora_dir = str(tmp_path / "my loras")
    host.opts.data["control_net_models_path"] = str(tmp_path / "my controlnets")
    places = get_models.places()
    assert places.for_new("domain-adapter") == tmp_path / "my loras"
    assert places.for_new("sparsectrl") == tmp_path / "my controlnets"


def test_the_list_marks_what_is_there(get_models, tmp_path):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "v3_sd15_mm.ckpt").touch()
    table = get_models._table()
    assert table.count("<td>✓</td>") == 1
    assert "<td>✓</td><td>v3_sd15_mm.ckpt</td>" in table
    assert all(f"<td>{file.file_name}</td>" in table for file in KNOWN)


def test_a_download_ends_with_a_file_that_the_list_has(get_models, host, hub, known, tmp_path):  # noqa: F811
    assert host.webui("models").names() == []
    get_models.GETTING.begin(known, tmp_path / "modules")
    assert finished(get_models.GETTING) == (
        "✓ mm_test.safetensors is there, whole and checked, and can be chosen above."
    )
    assert host.webui("models").names() == ["mm_test.safetensors"]


def test_news_tell_how_far_it_is_and_a_stop_is_obeyed(get_models, known, tmp_path, monkeypatch):  # noqa: F811
    waiting, go_on = threading.Event(), threading.Event()

    def slow(file, folder, progress):
        progress(0, 4_000_000)
        progress(1_000_000, 4_000_000)
        waiting.set()
        go_on.wait(60)
        progress(2_000_000, 4_000_000)
        raise AssertionError("it was stopped")

    monkeypatch.setattr(get_models, "fetch", slow)
    getting = get_models.GETTING
    getting.begin(known, tmp_path)
    assert waiting.wait(60)
    assert getting.news.startswith("mm_test.safetensors: 1 MB of 4 MB (25%), ")
    getting.begin(replace(known, path="another.safetensors"), tmp_path)
    assert getting.news.startswith("mm_test"), "one at a time"
    getting.stop()
    go_on.set()
    assert (
        finished(getting)
        == "⚠ mm_test.safetensors: stopped. What has arrived is kept, and Download goes on from there."
    )


def test_a_problem_is_said_in_the_line(get_models, hub, known, tmp_path):  # noqa: F811
    hub.status = 500
    get_models.GETTING.begin(known, tmp_path)
    assert "answered with status 500" in finished(get_models.GETTING)


def test_a_missing_module_points_to_the_list_and_the_command(host, get_models, tmp_path, motion_modules):
    with pytest.raises(host.error, match=r"Download motion modules.*models get mm_sd15_v3\.safetensors"):
        host.generate({"model": "whatever.safetensors"})
    host.opts.data["animatediff_model_path"] = str(motion_modules)
    with pytest.raises(host.error, match=r"choose from .*v2.* models get v3_sd15_mm\.ckpt"):
        host.generate({"model": "v3_sd15_mm.ckpt"})
    with pytest.raises(host.error, match=r"choose from [^*]*$"):
        host.generate({"model": "my own.safetensors"})


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_the_section_is_in_both_tabs(host, get_models, tab):
    found = by_id(page(host))
    (choice,) = found[f"{tab}-ad-get-file"]
    assert choice.choices[0] in (KNOWN[0].file_name, (KNOWN[0].file_name, KNOWN[0].file_name))
    for name in ("get", "get-list", "get-button", "get-stop", "get-news"):
        assert len(found[f"{tab}-ad-{name}"]) == 1


def test_what_was_fetched_can_be_chosen_without_a_reload(host, get_models, hub, known, monkeypatch):  # noqa: F811
    """What the page's events answer: the line while it runs, then the lists with the new file."""
    monkeypatch.setattr(get_models, "known_by_file_name", lambda name: known)
    blocks = page(host)
    found = by_id(blocks)
    button, line = found["txt2img-ad-get-button"][0], found["txt2img-ad-get-news"][0]
    get, news = (_function(blocks, source, event) for source, event in ((button, "click"), (line, "change")))
    first = get(known.file_name, None, "")
    assert "data-at" in first[0] or not get_models.GETTING.is_running
    for _ in range(100):
        answer = news(None, "")
        if not get_models.GETTING.is_running:
            break
    answer = news(None, "")
    assert "is there, whole and checked" in answer[0]
    assert answer[0] == news(None, "")[0], "the page would ask for ever"
    assert answer[2]["choices"] in (["mm_test.safetensors"], [("mm_test.safetensors", "mm_test.safetensors")])
    assert answer[2]["value"] == "mm_test.safetensors"


@needs_chromium
def test_the_page_follows_a_download_to_its_end(
    host,
    get_models,
    hub,  # noqa: F811
    known,  # noqa: F811
    served,  # noqa: F811
    browser,
    monkeypatch,
):
    monkeypatch.setattr(get_models, "known_by_file_name", lambda name: known)
    monkeypatch.setattr(get_models, "_NEWS_EVERY_S", 0.05)
    browser.open(served[0])
    browser.until("document.querySelector('#txt2img-ad-accordion')")
    browser.click("#txt2img-ad-accordion > .label-wrap")
    browser.click("#txt2img-ad-get > .label-wrap")
    browser.click("#txt2img-ad-get-button")
    browser.until("document.querySelector('#txt2img-ad-get-news').textContent.includes('whole and checked')")
    browser.until("document.querySelector('#txt2img-ad-motion-module input').value === 'mm_test.safetensors'")
    # nobody asks any more: for a second nothing is sent, however long the last answers were under way
    browser.script("(window.quiet = {sent: -1, since: 0})")
    browser.until(
        "(sent => (quiet.sent === sent || (quiet = {sent, since: Date.now()})) && Date.now() - quiet.since > 1000)"
        "(performance.getEntriesByType('resource').filter(entry => entry.name.includes('/run/')).length)"
    )


def _function(blocks: gr.Blocks, source, event: str):
    """What an event of a component calls."""
    (index,) = [
        index
        for index, dependency in enumerate(blocks.dependencies)
        if (dependency["targets"], dependency["trigger"]) == ([source._id], event)
    ]
    return blocks.fns[index].fn
