"""The tab of a running WebUI in a browser: set, generate, see the MP4 play, paste its infotext, get the same settings.
So it goes for every feature, and for grids of the X/Y/Z plot.

WEBUI_SCREENSHOTS   a folder for pictures of the page; a temporary one without
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from animatediff_ext.media import read_comment
from animatediff_ext.params import SETTINGS, VIDEO_FORMATS
from tests.live.conftest import wanted
from tests.webui.browser import chromium, needs_chromium

pytestmark = pytest.mark.live

SIZES = {"wide": (1920, 1080), "narrow": (1024, 900)}
PLAYER = "#txt2img_gallery .animatediff-player"
FIELDS = {"video-length": "12", "fps": "6"}
SHOWN = "document.querySelector('#txt2img-ad-accordion .animatediff-summary')?.textContent"


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = Path(os.environ.get("WEBUI_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def page(webui, profile: Path, theme: str = "dark") -> Iterator:
    with chromium(profile) as browser:
        browser.size(*SIZES["wide"])
        visited(browser, webui, theme)
        yield browser


def visited(browser, webui, theme: str = "dark") -> None:
    browser.open(f"{webui.url}/?__theme={theme}")
    browser.until("document.querySelector('#txt2img-ad-accordion .animatediff-summary')", seconds=120)
    browser.until("Object.keys(opts).length > 0", seconds=60)


@needs_chromium
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_visit(webui, folder, tmp_path, theme):
    with page(webui, tmp_path / "profile", theme) as browser:
        visit(browser, webui, folder, theme)


def visit(browser, webui, folder: Path, theme: str) -> None:
    def pictures(name: str) -> None:
        for size, (width, height) in SIZES.items():
            browser.size(width, height)
            browser.screenshot(folder / f"{name}-{size}-{theme}.png")
        browser.size(*SIZES["wide"])

    # tick and set
    browser.type("#txt2img_prompt textarea", "0: a red circle going right\n8 smooth: a blue star going right")
    for name, number in {"steps": "4", "width": "64", "height": "64"}.items():
        browser.type(f"#txt2img_{name} input[type=number]", number)
    browser.click("#txt2img-ad-accordion > .label-wrap")
    choose(browser, "txt2img-ad-motion-module", webui.motion_module)
    browser.click("#txt2img-ad-enable input")
    for name, number in FIELDS.items():
        browser.type(f"#txt2img-ad-{name} input", number)
    mp4 = "#txt2img-ad-save-format label:nth-of-type(2) input"
    if not browser.script("document.querySelector(arguments[0]).checked", mp4):
        browser.click(mp4)
    browser.until(f"{SHOWN}?.startsWith('12 frames · 6 fps · 2 s') && {SHOWN}.endsWith('travel 2 keys')", seconds=30)
    pictures("accordion")
    browser.click("#txt2img-ad-accordion > .label-wrap")
    browser.script("window.scrollTo(0, 0)")

    # generate, and see the MP4 play
    browser.click("#txt2img_generate")
    browser.until(f"document.querySelector('{PLAYER} video')?.currentTime > 0", seconds=300)
    assert browser.script(f"document.querySelector('{PLAYER} video').src").endswith(".mp4")
    browser.until(f"document.querySelector('{PLAYER} .animatediff-player-frame').textContent.endsWith(' / 12')")
    pictures("gallery")
    browser.click(f"{PLAYER} video")
    browser.until("document.querySelector('#lightboxModal .animatediff-player video')?.currentTime > 0", seconds=30)
    pictures("lightbox")
    browser.keys("#lightboxModal", "\ue00c")  # Escape
    browser.until("!document.querySelector('#lightboxModal .animatediff-player')")
    url = browser.script(f"document.querySelector('{PLAYER} video').src")
    assert httpx.get(url, timeout=60).content[4:8] == b"ftyp"

    # the video on PNG Info has the infotext, which brings the same settings back
    browser.click("#tabs > .tab-nav > button:nth-of-type(4)")
    browser.script(DROP % url)
    browser.until(
        "document.querySelector('#pnginfo_generation_info textarea').value.includes('AnimateDiff: ')", seconds=60
    )
    pictures("pnginfo")
    for name in FIELDS:
        browser.script(ENTER, f"#txt2img-ad-{name} input", 1)
    browser.click("#tab_pnginfo #txt2img_tab")
    browser.until(f"{SHOWN}?.startsWith('12 frames · 6 fps · 2 s') && {SHOWN}.endsWith('travel 2 keys')", seconds=60)
    for name, expected in FIELDS.items():
        browser.until(f"document.querySelector('#txt2img-ad-{name} input').value === '{expected}'", seconds=30)
    assert browser.script("document.querySelector('#txt2img-ad-enable input').checked")

    # and so does Send to img2img
    browser.click("#txt2img_send_to_img2img")
    img2img = SHOWN.replace("txt2img", "img2img")
    browser.until(f"{img2img}?.startsWith('12 frames · 6 fps · 2 s')", seconds=60)


DROP = """(async () => {
    const data = new DataTransfer();
    const bytes = await (await fetch('%s')).blob();
    data.items.add(new File([bytes], 'clip.mp4', {type: 'video/mp4'}));
    const target = document.querySelector('#pnginfo_image [data-testid=image]');
    target.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}));
})()"""


def choose(browser, elem_id: str, choice: str) -> None:
    """An entry of a dropdown list. It may take several tries: a list that is open is not brought up to date, and fields
    move when reasons below them come and go."""
    option = f"#{elem_id} li[data-value='{choice}']"
    for _ in range(20):
        browser.click(f"#{elem_id} input")
        if browser.script("document.querySelector(arguments[0])", option):
            browser.click(option)
        browser.script("document.activeElement.blur()")
        browser.until(f"!document.querySelector('#{elem_id} li')")  # it would lie over other fields
        if browser.script(f"document.querySelector('#{elem_id} input').value") == choice:
            return
    raise AssertionError(f"{choice} is not in the list")


SHORT = {"video_length": 6}
LONG = {"video_length": 12, "batch_size": 6}
FEATURES = {
    "travel": {**SHORT, "prompt": "a circle\n0: red\n50% smooth: (blue:0.6->1.3)\n0.6s step: green\n5 = no key"},
    "negative travel": {**SHORT, "negative": "0: blue\n50% smooth: green"},
    "closed loop": {**SHORT, "closed_loop": "A"},
    "windows": {**LONG, "long_clips": "windows", "overlap": 2, "context_schedule": "static"},
    "views": {**LONG, "long_clips": "views", "overlap": 3, "context_weights": "linear", "noise_kind": "FreeNoise"},
    "noise": {**SHORT, "noise_kind": "mixed", "noise_share": 0.8},
    "FreeInit": {**SHORT, "freeinit_enable": True, "freeinit_filter": "gaussian", "freeinit_ds": 0.5}
    | {"freeinit_iters": 2, "freeinit_coarse": True},
    "strength": {**SHORT, "motion_effect": "0: 0, 100%: 1.3", "motion_effect_steps": "0%: 1, 80% step: 0.5"}
    | {"motion_scale": "1.2", "motion_blocks": "down 0: 0.5", "motion_start": 0.1, "motion_end": 0.8},
    "positions": {**SHORT, "motion_positions": "stretch"},
    "second motion module": {**SHORT, "second_model": None, "second_model_share": 0.35},
    "motion LoRA": {**SHORT, "motion_loras": None},
}


@needs_chromium
@pytest.mark.parametrize("name", FEATURES)
def test_a_feature(webui, folder, tmp_path, name):
    asked = dict(FEATURES[name])
    if name == "second motion module":
        asked["second_model"] = webui.motion_module
    if name == "motion LoRA":
        asked["motion_loras"] = f"{wanted('WEBUI_MOTION_LORA')} = 0: 0, 100%: 1.2"
    with page(webui, tmp_path / "profile") as browser:
        prompts = {"prompt": asked.pop("prompt", "a red circle"), "neg_prompt": asked.pop("negative", "")}
        prepared(browser, webui, prompts, asked)
        if name == "travel":
            browser.until("document.querySelector('#txt2img-ad-travel')?.textContent.includes('looks like a key')")
            assert browser.script("document.querySelectorAll('#txt2img-ad-travel tr').length") == 4
        browser.click("#txt2img_generate")
        browser.until(f"document.querySelector('{PLAYER} video')?.currentTime > 0", seconds=600)
        num_frames = asked["video_length"] * 2 - 2 if name == "closed loop" else asked["video_length"]
        shown = f"document.querySelector('{PLAYER} .animatediff-player-frame').textContent"
        browser.until(f"{shown}.endsWith(' / {num_frames}')")
        browser.screenshot(folder / f"{name}.png")

        # what is pasted brings all of it back
        clip = httpx.get(browser.script(f"document.querySelector('{PLAYER} video').src"), timeout=60).content
        visited(browser, webui)
        opened(browser)
        browser.script(ENTER, "#txt2img_prompt textarea", read_comment(clip))
        browser.click("#paste")
        for api, value in {"enable": True, **asked}.items():
            browser.until(f"{VALUE} === arguments[1]", field(api), value, seconds=30)
        for prompt, text in prompts.items():
            typed = f"document.querySelector('#txt2img_{prompt} textarea').value"
            browser.until(f"{typed} === arguments[0]", text)


@needs_chromium
def test_a_mistake_is_shown_before_and_after(webui, tmp_path):
    with page(webui, tmp_path / "profile") as browser:
        prepared(browser, webui, {"prompt": "a red circle"}, {**LONG, "overlap": 7})
        browser.until(f"{SHOWN}?.includes('Overlap is 7')", seconds=30)
        browser.click("#txt2img_generate")
        browser.until("document.querySelector('#html_log_txt2img').textContent.includes('Overlap is 7')", seconds=60)


@needs_chromium
def test_a_grid_and_its_cells_play(webui, folder, tmp_path):
    plot = "script_txt2img_xyz_plot"
    with page(webui, tmp_path / "profile") as browser:
        prepared(browser, webui, {"prompt": "a red circle"}, SHORT)
        choose(browser, "script_list", "X/Y/Z plot")
        browser.until(f"document.querySelector('#{plot}_x_type input')?.offsetParent")
        choose(browser, f"{plot}_x_type", "[AnimateDiff] Motion effect")
        browser.until(f"document.querySelector('#{plot}_x_values textarea')?.offsetParent")
        browser.type(f"#{plot}_x_values textarea", "0, 1")
        browser.click(f"#{plot}_include_lone_images input")
        browser.click("#txt2img_generate")
        small = "#txt2img_gallery .preview .thumbnail-item"
        browser.until(f"document.querySelectorAll('{small}').length === 3", seconds=600)
        for i in range(3):
            browser.click(f"{small}:nth-of-type({i + 1})")
            browser.until(
                f"(document.querySelectorAll('{small}')[{i}].classList.contains('selected')"
                f" && document.querySelector('{PLAYER} video')?.currentTime > 0)"
            )
            file = browser.script(f"document.querySelector('{PLAYER} video').src.split('/').pop()")
            assert ("grid" in file) == (i == 0)
        browser.screenshot(folder / "grid.png")


def prepared(browser, webui, prompts: dict, fields: dict) -> None:
    """A small and short animation, with the accordion and its groups open."""
    for prompt, text in prompts.items():
        browser.type(f"#txt2img_{prompt} textarea", text)
    for name, number in {"steps": "4", "width": "64", "height": "64"}.items():
        browser.type(f"#txt2img_{name} input[type=number]", number)
    opened(browser)
    fill(browser, "model", webui.motion_module)
    for api, value in {"enable": True, "format": ["GIF", "MP4"], **fields}.items():
        fill(browser, api, value)


def opened(browser) -> None:
    """The accordion and what is folded within."""
    for _ in range(2):
        browser.script(
            "document.querySelectorAll('#txt2img-ad-accordion .label-wrap:not(.open)').forEach((bar) => bar.click())"
        )
        browser.until("document.querySelector('#txt2img-ad-accordion > .label-wrap.open')")


def field(api: str) -> str:
    return f"txt2img-ad-{SETTINGS[api].elem_id}"


def fill(browser, api: str, value) -> None:
    known, elem_id = SETTINGS[api], field(api)
    if known.kind is bool or known.kind is list:
        names = VIDEO_FORMATS if known.kind is list else (api,)
        for i, name in enumerate(names):
            box = f"document.querySelectorAll('#{elem_id} input')[{i}]"
            if browser.script(f"{box}.checked") != (name in value if known.kind is list else value):
                browser.script(f"{box}.click()")
    elif browser.script(f"document.querySelector('#{elem_id} input[type=radio]')"):
        browser.click(f"#{elem_id} input[value='{value}']")
    elif known.choices or api in ("model", "second_model"):
        choose(browser, elem_id, value)
    elif known.kind is str:
        browser.type(f"#{elem_id} :is(textarea, input)", value)
    else:
        browser.type(f"#{elem_id} input[type=number]", str(value))


VALUE = """((id) => {
    const inputs = [...document.getElementById(id).querySelectorAll("input, textarea")];
    const first = inputs[0];
    if (first.type === "radio") return inputs.find((one) => one.checked)?.value;
    if (first.type === "checkbox") return first.checked;
    return first.type === "number" ? Number(first.value) : first.value;
})(arguments[0])"""
ENTER = """(() => {
    const field = document.querySelector(arguments[0]);
    field.value = arguments[1];
    field.dispatchEvent(new Event("input", {bubbles: true}));
})()"""
