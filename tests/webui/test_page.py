"""The accordion in a browser, on a gradio page with both tabs."""

import shutil
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from torch import nn

from animatediff_ext.params import SETTINGS, from_api, to_api
from tests.webui.browser import needs_chromium
from tests.webui.host import request

ROOT = Path(__file__).parents[2]
STYLE = ROOT / "style.css"

OLD_IDS = {
    "motion-module": "Motion module",
    "enable": "Enable AnimateDiff",
    "video-length": "Number of frames",
    "fps": "FPS",
    "loop-number": "Display loop number",
    "closed-loop": "Closed loop",
    "batch-size": "Context batch size",
    "stride": "Stride",
    "overlap": "Overlap",
    "save-format": "Save format",
    "interp-choice": "Frame Interpolation",
    "interp-x": "Interp X",
    "video-path": "Video path",
    "mask-path": "Mask path",
    "freeinit-enable": "Enable FreeInit",
    "freeinit-filter": "Filter Type",
    "freeinit-ds": "d_s",
    "freeinit-dt": "d_t",
    "freeinit-iters": "FreeInit Iterations",
}
OLD_IDS_OF_IMG2IMG = {
    "latent-power": "Latent power",
    "latent-scale": "Latent scale",
    "latent-power-last": "Optional latent power for last frame",
    "latent-scale-last": "Optional latent scale for last frame",
}
"""Element ids and labels of sd-webui-animatediff: users' scripts, styles and ui-config.json know them."""


def page(host, record=lambda tab, values: None) -> gr.Blocks:
    """Both tabs, each with the script, a Generate button and what pastes an infotext; and *Send to img2img*."""
    host.scripts = {}

    def send(tab, *values):
        record(tab, values)
        return f"{tab} {len(values)}"

    with gr.Blocks(analytics_enabled=False, css=STYLE.read_text()) as blocks, gr.Tabs():
        for tab in ("txt2img", "img2img"):
            with gr.Tab(tab, elem_id=f"tab_{tab}"):
                script = host.scripts[tab] = host.ours.AnimateDiffScript()
                for name in (f"{tab}_prompt", f"{tab}_neg_prompt"):
                    script.after_component(gr.Textbox(elem_id=name, lines=3), elem_id=name)
                components = script.ui(tab == "img2img")
                sent = gr.HTML(elem_id=f"{tab}_sent")
                gr.Button("Generate", elem_id=f"{tab}_generate").click(
                    fn=lambda *values, tab=tab: send(tab, *values), inputs=components, outputs=[sent], queue=False
                )
                infotext = gr.Textbox(elem_id=f"{tab}_infotext")
                gr.Button("Paste", elem_id=f"{tab}_paste").click(
                    fn=partial(pasted, host, script.infotext_fields),
                    inputs=[infotext],
                    outputs=[field for field, _ in script.infotext_fields],
                    queue=False,
                )
        send_to_img2img(*(host.scripts[tab] for tab in ("txt2img", "img2img")))
    return blocks


def pasted(host, fields, infotext: str) -> list[dict]:
    """As the WebUI's modules/infotext_utils.py does it."""
    entries = {"AnimateDiff": infotext}
    host.webui("infotext").pasted(infotext, entries)
    return [_update(field, name(entries) if callable(name) else entries.get(name)) for field, name in fields]


def _update(field, text) -> dict:
    if not isinstance(text, str):
        return gr.update() if text is None else gr.update(value=text)
    kind = type(field.value)
    return gr.update(value=text == "True" if kind is bool else int(float(text)) if kind is int else kind(text))


def send_to_img2img(source, target) -> None:
    """The WebUI copies the fields that both tabs have, by the names that the first one's script gives."""
    names = source.paste_field_names
    gr.Button("Send to img2img", elem_id="send").click(
        fn=lambda *values: values,
        inputs=[field for field, name in source.infotext_fields if name in names],
        outputs=[field for field, name in target.infotext_fields if name in names],
        queue=False,
    )


def by_id(blocks: gr.Blocks) -> dict[str, list]:
    found = {}
    for block in blocks.blocks.values():
        if getattr(block, "elem_id", None):
            found.setdefault(block.elem_id, []).append(block)
    return found


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_element_ids_and_labels_are_the_old_ones_and_unique(host, tab):
    found = by_id(page(host))
    expected = OLD_IDS | (OLD_IDS_OF_IMG2IMG if tab == "img2img" else {})
    for name, label in expected.items():
        (component,) = found[f"{tab}-ad-{name}"]
        assert component.label == label
    assert all(len(components) == 1 for components in found.values())
    assert bool(set(OLD_IDS_OF_IMG2IMG) & {name.removeprefix("txt2img-ad-") for name in found}) is False


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_untouched_fields_are_the_defaults(host, tab):
    with gr.Blocks():
        state, *components = host.script.ui(tab == "img2img")
    assert state.value is None
    fields = host.webui("arguments").page_fields(tab == "img2img")
    assert len(components) == len(fields)
    values = {field.api: component.value for field, component in zip(fields, components, strict=True)}
    assert values.pop("model") == "v1.safetensors", "the first one that fits, since the default is not there"
    assert to_api(from_api(values)[0]) == to_api(from_api({})[0])


def test_building_the_page_again_changes_nothing(host):
    """The API builds it twice more, to read defaults."""
    with gr.Blocks():
        kinds = [[type(component) for component in host.script.ui(False)] for _ in range(3)]
    assert kinds[0] == kinds[1] == kinds[2]
    assert len(SETTINGS) > len(kinds[0]) - 1


def test_default_formats_are_the_users(host):
    host.opts.data["animatediff_default_save_formats"] = ["MP4"]
    with gr.Blocks():
        components = host.script.ui(False)
    (formats,) = [component for component in components if component.elem_id == "txt2img-ad-save-format"]
    assert formats.value == ["MP4"]


def test_an_empty_folder_is_said_in_the_page(host, tmp_path):
    host.opts.data["animatediff_model_path"] = str(tmp_path)
    host.webui("models").EXTENSION = tmp_path / "none"
    blocks = page(host)
    texts = " ".join(str(block.value) for block in blocks.blocks.values() if isinstance(block, (gr.HTML, gr.Markdown)))
    assert f"animatediff-problem'>⚠ No motion module in {tmp_path}" in texts


@pytest.mark.parametrize(
    ("checkpoint", "words"),
    [
        (SimpleNamespace(model=SimpleNamespace(diffusion_model=nn.Linear(1, 1))), "not a UNet"),  # SD3's MMDiT
        (SimpleNamespace(forge_objects=None), "no UNet where WebUI 1.10 keeps it"),
    ],
)
def test_the_page_is_there_whatever_checkpoint_is_loaded(host, monkeypatch, checkpoint, words):
    monkeypatch.setattr(host.sd_models.model_data, "sd_model", checkpoint)
    blocks = page(host)
    (status,) = by_id(blocks)["txt2img-ad-status"]
    assert words in status.value
    assert all(not entry.get("fits_loaded_checkpoint") for entry in host.webui("module_list").listed(with_hash=False))


def test_fields_that_cannot_be_made_do_not_end_the_webui(host, monkeypatch):
    """With --api nothing catches what `ui` raises; requests are not taken for stills then."""
    monkeypatch.setattr(host.webui("script"), "Accordion", lambda *_args: 1 / 0)
    with gr.Blocks() as blocks:
        assert host.script.ui(False) is None
    words = " ".join(str(block.value) for block in blocks.blocks.values() if isinstance(block, gr.Markdown))
    assert "could not be made** (ZeroDivisionError: division by zero)" in words
    assert host.errors.reports, "the console has the whole of it"
    assert host.script.title().lower() != "animatediff", "the API refuses a request that names a script it has not"
    assert host.run(host.p({})).images, "its arguments are nobody's"
    host.errors.reports.clear()


@pytest.fixture
def served(host):
    """The page on loopback, and what its Generate buttons sent."""
    received = []
    blocks = page(host, lambda tab, values: received.append((tab, values)))
    _, url, _ = blocks.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, show_api=False, show_error=True
    )
    yield url, received
    blocks.server.force_exit = True  # else it waits, for ever, for a browser that keeps a connection
    blocks.close(verbose=False)


@needs_chromium
def test_the_page_in_a_browser(host, served, browser, tmp_path, motion_modules):
    """One visit: what a user sees, chooses and sends."""
    url, received = served
    browser.open(url)
    browser.until("document.querySelector('#txt2img-ad-accordion')")

    # every element is there once, with its label
    for tab, names in (("txt2img", OLD_IDS), ("img2img", OLD_IDS | OLD_IDS_OF_IMG2IMG)):
        for name, label in names.items():
            if name == "mask-path":  # hidden, as it was
                continue
            assert browser.script("document.querySelectorAll('#' + arguments[0]).length", f"{tab}-ad-{name}") == 1, name
            shown = browser.script("document.getElementById(arguments[0]).textContent", f"{tab}-ad-{name}")
            assert label in shown, name

    browser.inject(*javascript())

    # the status says what the module is, and its hash once the user has turned to it
    def status(tab):
        return browser.script(f"document.querySelector('#{tab}-ad-status').textContent")

    # the WebUI loads its checkpoint beside the page, which hears nothing of it
    loaded, host.sd_models.model_data.sd_model = host.sd_models.model_data.sd_model, None
    browser.script("(opts.sd_model_checkpoint = 'late', callbacks.options.forEach((callback) => callback()), true)")
    browser.until("document.querySelector('#txt2img-ad-status').textContent.includes('no checkpoint is loaded yet')")
    host.sd_models.model_data.sd_model = loaded
    browser.until("document.querySelector('#txt2img-ad-status').textContent.includes('fits the loaded checkpoint')")

    # bars are buttons, to keyboards and screen readers
    bar = "#txt2img-ad-accordion > .label-wrap"
    browser.until("document.querySelector(arguments[0])?.getAttribute('aria-expanded') === 'false'", bar)
    browser.keys(bar, "\ue007")  # Enter
    browser.until("document.querySelector(arguments[0]).getAttribute('aria-expanded') === 'true'", bar)
    unnamed = (
        "fieldset:not([aria-label]), .head input[type=number]:not([aria-label]), .label-wrap:not(button, [role=button])"
    )
    assert browser.script(f"document.querySelectorAll('[id$=ad-accordion] :is({unnamed})').length") == 0
    assert "AnimateDiff v1" in status("txt2img"), "the first one that fits"
    assert "hash" not in status("txt2img")
    choose(browser, "txt2img-ad-motion-module", "other layout.safetensors")
    browser.until("document.querySelector('#txt2img-ad-status').textContent.includes('was made for')")
    choose(browser, "txt2img-ad-motion-module", "v2.safetensors")
    browser.until("document.querySelector('#txt2img-ad-status').textContent.includes('fits the loaded checkpoint')")
    # fields that change nothing say why, until they matter; the bar has a summary once AnimateDiff is on
    browser.until("document.querySelector('#txt2img-ad-overlap-reason')?.textContent.includes('fit one context of 16')")
    said = "[...document.querySelectorAll('#txt2img-ad-accordion .animatediff-reason:not(.animatediff-said)')]"
    reasons = browser.script(f"{said}.map((note) => note.textContent)")
    assert len(reasons) == len(set(reasons)) >= 4, "each reason is in sight once"
    assert browser.script("document.querySelector('#txt2img-ad-stride').title").startswith("no effect")
    assert summary(browser, "txt2img") == ""
    browser.click("#txt2img-ad-enable input")
    browser.until("document.querySelector('#txt2img-ad-status').textContent.includes('hash')")
    wait_for_summary(browser, "txt2img", "16 frames · 8 fps · 2 s · mm v2")

    # what is chosen is what the script gets
    browser.type("#txt2img-ad-video-length input", "6")
    browser.type("#txt2img-ad-fps input", "7.5")
    browser.type("#txt2img-ad-batch-size input[type=number]", "4")
    browser.until("!document.querySelector('#txt2img-ad-overlap-reason')")
    browser.click("#txt2img-ad-closed-loop label:nth-of-type(4) input")
    browser.click("#txt2img-ad-save-format label:nth-of-type(2) input")
    browser.click("#txt2img-ad-accordion .block .label-wrap:has(+ * #txt2img-ad-stride)")
    choose(browser, "txt2img-ad-context-weights", "flat")
    # what the frames will be told is drawn as soon as the prompt is left, and follows the number of frames
    browser.type("#txt2img_prompt textarea", "0: a cat\n3: a dog")
    browser.until("document.querySelectorAll('#txt2img-ad-travel td').length === 12")
    wait_for_summary(browser, "txt2img", "6 frames · 7.5 fps · 0.8 s · mm v2 · travel 2 keys")
    browser.screenshot(tmp_path / "page.png")  # for whoever looks into a failure
    browser.click("#txt2img_generate")
    browser.until("document.querySelector('#txt2img_sent').textContent.includes('txt2img')")
    ((tab, values),) = received
    assert tab == "txt2img"
    animation, warnings = host.webui("arguments").parse(values, is_img2img=False)
    expected = request(model="v2.safetensors", video_length=6, fps=7.5, batch_size=4, closed_loop="A")
    expected |= {"format": ["GIF", "MP4", "PNG"], "context_weights": "flat"}
    assert to_api(animation) == to_api(from_api(expected)[0])
    assert warnings == []

    # what was pasted or sent on is there, and its summary
    browser.type(
        "#txt2img_infotext textarea", "model: v1.safetensors, video_length: 24, fps: 12, closed_loop: N, batch_size: 8"
    )
    browser.click("#txt2img_paste")
    wait_for_summary(browser, "txt2img", "24 frames · 12 fps · 2 s · mm v1 · travel 2 keys")
    browser.click("#send")
    wait_for_summary(browser, "img2img", "24 frames · 12 fps · 2 s · mm v1")

    # a new file is in the list after a refresh
    shutil.copy(motion_modules / "v2.safetensors", motion_modules / "brought later.safetensors")
    try:
        browser.click("#txt2img-ad-refresh")
        choose(browser, "txt2img-ad-motion-module", "brought later.safetensors")
        browser.until("document.querySelector('#txt2img-ad-motion-module input').value.startsWith('brought')")
    finally:
        (motion_modules / "brought later.safetensors").unlink()

    # img2img has fields of its own, and is sent apart
    browser.click("#tab_txt2img-button, .tab-nav button:nth-of-type(2)")
    browser.click("#img2img-ad-accordion > .label-wrap")
    browser.click("#img2img_generate")
    browser.until("document.querySelector('#img2img_sent').textContent.includes('img2img')")
    assert len(received) == 2
    assert len(received[1][1]) == len(values) + 5
    sent = host.webui("arguments").parse(received[1][1], is_img2img=True)[0]
    expected |= {"model": "v1.safetensors", "video_length": 24, "fps": 12, "closed_loop": "N", "batch_size": 8}
    expected |= {"format": ["GIF", "PNG"], "context_weights": "pyramid", "long_clips": "windows"}
    assert to_api(sent) | {"format": None} == to_api(from_api(expected)[0]) | {"format": None}


@needs_chromium
def test_the_page_asks_one_question_at_a_time(browser, tmp_path):
    """The answer to an earlier one, if it took longer, would be shown in the end."""
    html = tmp_path / "page.html"
    html.write_text("<button id='txt2img-ad-ask' onclick='asked += 1'></button><script>asked = 0</script>")
    browser.open(html.as_uri())
    browser.inject(*javascript())
    browser.until("asked === 1")
    browser.script("animateDiff.ask('txt2img')")
    time.sleep(0.5)  # several times as long as it waits for further changes
    assert browser.script("asked") == 1
    browser.script("animateDiff.show('txt2img', null)")
    browser.until("asked === 2")


def choose(browser, elem_id: str, choice: str) -> None:
    """An entry of a dropdown list. It may have to be opened again, since a list is not brought up to date."""
    option = f"#{elem_id} li[data-value='{choice}']"
    for _ in range(20):
        browser.click(f"#{elem_id} input")
        if browser.script("document.querySelector(arguments[0])", option):
            return browser.click(option)
        browser.script("document.activeElement.blur()")
    raise AssertionError(f"{choice} is not in the list")


def javascript() -> list[str]:
    """The WebUI's own in miniature, and all of ours in the order in which it loads them."""
    ours = sorted((ROOT / "javascript").glob("*.js"))
    stub = Path(__file__).parent / "host" / "page.js"
    return [*(path.read_text(encoding="utf-8") for path in (stub, *ours)), "begin()"]


def summary(browser, tab: str) -> str:
    return browser.script(f"document.querySelector('#{tab}-ad-accordion .animatediff-summary')?.textContent ?? ''")


def wait_for_summary(browser, tab: str, text: str) -> None:
    shown = f"document.querySelector('#{tab}-ad-accordion .animatediff-summary')?.textContent"
    browser.until(f"{shown} === arguments[0]", text)
