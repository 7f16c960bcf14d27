"""The tab of a running WebUI in a browser: set, generate, see the MP4 play, paste its infotext, get the same settings.

WEBUI_SCREENSHOTS   a folder for pictures of the page; a temporary one without
"""

import os
from pathlib import Path

import httpx
import pytest

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


@needs_chromium
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_visit(webui, folder, tmp_path, theme):
    with chromium(tmp_path / "profile") as browser:
        browser.size(*SIZES["wide"])
        browser.open(f"{webui.url}/?__theme={theme}")
        browser.until("document.querySelector('#txt2img-ad-accordion .animatediff-summary')", seconds=120)
        browser.until("Object.keys(opts).length > 0", seconds=60)
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
        browser.script(EMPTY, f"#txt2img-ad-{name} input")
    browser.click("#tab_pnginfo #txt2img_tab")
    browser.until(f"{SHOWN}?.startsWith('12 frames · 6 fps · 2 s') && {SHOWN}.endsWith('travel 2 keys')", seconds=60)
    for name, expected in FIELDS.items():
        browser.until(f"document.querySelector('#txt2img-ad-{name} input').value === '{expected}'", seconds=30)
    assert browser.script("document.querySelector('#txt2img-ad-enable input').checked")

    # and so does Send to img2img
    browser.click("#txt2img_send_to_img2img")
    img2img = SHOWN.replace("txt2img", "img2img")
    browser.until(f"{img2img}?.startsWith('12 frames · 6 fps · 2 s')", seconds=60)


EMPTY = """(() => {
    const field = document.querySelector(arguments[0]);
    field.value = 1;
    field.dispatchEvent(new Event('input', {bubbles: true}));
})()"""
DROP = """(async () => {
    const data = new DataTransfer();
    const bytes = await (await fetch('%s')).blob();
    data.items.add(new File([bytes], 'clip.mp4', {type: 'video/mp4'}));
    const target = document.querySelector('#pnginfo_image [data-testid=image]');
    target.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}));
})()"""


def choose(browser, elem_id: str, choice: str) -> None:
    option = f"#{elem_id} li[data-value='{choice}']"
    browser.click(f"#{elem_id} input")
    browser.until("document.querySelector(arguments[0])", option)
    browser.click(option)
