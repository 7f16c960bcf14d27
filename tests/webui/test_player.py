"""Videos in the gallery, in the lightbox and on PNG Info."""

import base64
import itertools
import json
from pathlib import Path

import fastapi
import gradio as gr
import pytest

from animatediff_ext.media import read_comment
from tests.webui.browser import needs_chromium
from tests.webui.host import NUM_FRAMES
from tests.webui.test_page import STYLE, javascript

PLAYER = "#txt2img_gallery .animatediff-player"
LIGHTBOX = "#lightboxModal .animatediff-player"


def listed(processed) -> list[dict]:
    """What the page learns of the videos, through JSON as it does."""
    return json.loads(json.dumps(processed.extra_generation_params)).get("AnimateDiff videos", [])


def test_the_page_learns_which_video_to_play_for_a_picture(host):
    processed = host.generate({"format": ["GIF", "WEBM", "MP4"], "fps": 5}, api=False, n_iter=2)
    for picture, entry in zip(processed.images, listed(processed), strict=True):
        assert entry["picture"] == picture.already_saved_as
        assert entry["video"] == picture.already_saved_as.removesuffix(".gif") + ".mp4"
        assert entry["fps"] == 5
        assert entry["video"] in host.shared.demo.temp_file_sets[0], "the page may have it"
    assert "AnimateDiff videos" not in processed.infotexts[0]


@pytest.mark.parametrize(
    ("formats", "changes", "played"),
    [
        (["WEBM"], {}, [".webm"]),
        (["GIF", "PNG"], {}, []),
        (["MP4"], {"do_not_save_samples": True}, []),
    ],
)
def test_what_is_not_there_is_not_played(host, formats, changes, played):
    entries = listed(host.generate({"format": formats}, api=False, **changes))
    assert ["." + entry["video"].rpartition(".")[2] for entry in entries] == played


def test_frames_that_were_added_are_counted(host):
    (entry,) = listed(host.generate({"format": ["MP4"], "fps": 4, "interp": "FFmpeg", "interp_x": 3}, api=False))
    assert entry["fps"] == 12


def test_the_api_is_told_nothing_of_files_on_this_disk(host):
    assert listed(host.generate({"format": ["MP4"]})) == []


@pytest.fixture
def served(host, monkeypatch):
    """A gallery with two videos and a still, and PNG Info, on loopback; and the MP4 of the first video."""
    monkeypatch.setattr(gr.Gallery, "pil_to_temp_file", host.module("ui_tempdir").pil_to_temp_file)
    processed = host.generate({"format": ["MP4"], "fps": 2}, api=False, n_iter=2)
    still = processed.images[0].copy()
    still.already_saved_as = str(host.output / "still.png")
    still.save(still.already_saved_as)
    videos = listed(processed)
    videos[1]["picture"] = videos[1]["picture"].swapcase()  # capitals may be others, on Windows
    info = json.dumps({"extra_generation_params": {"AnimateDiff videos": videos}})
    with gr.Blocks(analytics_enabled=False, css=STYLE.read_text()) as blocks:
        for tab in ("txt2img", "img2img"):
            gallery = gr.Gallery(elem_id=f"{tab}_gallery", preview=True, columns=4, height=500)
            known = gr.Textbox(visible=False, elem_id=f"generation_info_{tab}")
            if tab == "txt2img":
                show = gr.Button("Show", elem_id="show")
                show.click(fn=lambda: ([*processed.images, still], info), outputs=[gallery, known], queue=False)
        picture = gr.Image(elem_id="pnginfo_image", source="upload", type="pil")
        text = gr.Textbox(elem_id="pnginfo_text")
        count = itertools.count()
        picture.change(
            fn=lambda image: f"{next(count)} {image.info.get('parameters', 'none')}" if image else "",
            inputs=[picture],
            outputs=[text],
            queue=False,
        )
    app, url, _ = blocks.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, show_api=False)
    host.shared.demo.temp_file_sets, ours = blocks.temp_file_sets, host.shared.demo.temp_file_sets
    blocks.temp_file_sets[0] |= ours[0]
    (mp4,) = [entry["video"] for entry in listed(processed)[:1]]

    @app.post("/animatediff/page/infotext")
    async def infotext(request: fastapi.Request):
        whole = host.temporary / "uploaded.mp4"
        whole.write_bytes(await request.body())
        return {"infotext": read_comment(whole)}

    yield url, mp4, processed.infotexts
    blocks.close(verbose=False)


@needs_chromium
def test_videos_in_a_browser(served, browser, tmp_path):
    """One visit: a gallery, its lightbox, and a video that is dropped on PNG Info."""
    url, mp4, infotexts = served
    browser.open(url)
    browser.until("document.querySelector('#show')")
    browser.inject(*javascript())
    browser.click("#show")

    def playing(player: str, count: int = NUM_FRAMES) -> None:
        shown = f"document.querySelector('{player} .animatediff-player-frame')?.textContent"
        browser.until(f"{shown}?.endsWith(' / {count}') && !document.querySelector('{player} video').paused")
        browser.until(f"document.querySelector('{player} video').currentTime > 0")

    def frame(player: str) -> str:
        return browser.script(f"document.querySelector('{player} .animatediff-player-frame').textContent")

    def wait_for_frame(player: str, text: str) -> None:
        browser.until(f"document.querySelector('{player} .animatediff-player-frame').textContent === '{text}'")

    # the MP4 plays in place of the picture, which stays for all that works with it
    playing(PLAYER)
    assert browser.script(f"decodeURI(document.querySelector('{PLAYER} video').src)").endswith(mp4)
    assert browser.script("document.querySelector('#txt2img_gallery .preview > img').src.includes('.webp')")
    assert browser.script(f"document.querySelector('{PLAYER} video').loop")
    assert browser.script(f"document.querySelector('{PLAYER} a').download") == mp4.rpartition("/")[2]
    browser.screenshot(tmp_path / "gallery.png")

    # while it plays, nothing of the page is new: the WebUI would go through all of it at each frame
    observe = (
        "new MutationObserver((all) => changes.push(...all)).observe(document.body, {childList: true, subtree: true})"
    )
    browser.script(f"(window.changes = [], {observe}, true)")
    for _ in range(2):
        shown = frame(PLAYER)
        browser.until(f"document.querySelector('{PLAYER} .animatediff-player-frame').textContent !== '{shown}'")
    assert browser.script("changes.length") == 0

    # by frames, by buttons and by keys; speed
    browser.click(f"{PLAYER} button")
    browser.until(f"document.querySelector('{PLAYER} video').paused")
    browser.script(f"document.querySelector('{PLAYER} video').currentTime = 0.1")
    wait_for_frame(PLAYER, "1 / 4")
    browser.keys("body", ".")
    wait_for_frame(PLAYER, "2 / 4")
    browser.keys("body", ",")
    wait_for_frame(PLAYER, "1 / 4")
    browser.keys("body", ",")
    wait_for_frame(PLAYER, "4 / 4")  # around the end, since it repeats
    browser.keys(f"{PLAYER} select", "2")
    browser.until(f"document.querySelector('{PLAYER} video').playbackRate === 2")

    # the next picture has another video, and the still has none
    browser.click("#txt2img_gallery .thumbnails button:nth-of-type(2)")
    browser.until(
        f"!decodeURI(document.querySelector('{PLAYER} video')?.src ?? arguments[0]).endsWith(arguments[0])", mp4
    )
    playing(PLAYER)
    assert browser.script(f"document.querySelector('{PLAYER} video').playbackRate") == 2
    browser.click("#txt2img_gallery .thumbnails button:nth-of-type(3)")
    browser.until(f"!document.querySelector('{PLAYER}')")
    assert browser.script("document.querySelector('.preview > img').offsetHeight") > 0
    browser.click("#txt2img_gallery .thumbnails button:nth-of-type(1)")
    playing(PLAYER)

    # a click opens the lightbox, which plays it too and keeps its own keys; another one closes it
    browser.click(f"{PLAYER} video")
    playing(LIGHTBOX)
    browser.screenshot(tmp_path / "lightbox.png")
    before = frame(LIGHTBOX)
    browser.keys("#lightboxModal", ".s")
    browser.until(f"document.querySelector('{LIGHTBOX} video').paused && saved.includes('s')")
    browser.until(f"document.querySelector('{LIGHTBOX} .animatediff-player-frame').textContent !== '{before}'")
    browser.click(f"{LIGHTBOX} video")
    browser.until(f"!document.querySelector('{LIGHTBOX}')")
    assert browser.script("document.querySelector('#lightboxModal').style.display") == "none"

    # a video on PNG Info becomes a picture that says the same
    drop = """(async () => {
        const data = new DataTransfer();
        const bytes = await (await fetch(document.querySelector('%s video').src)).blob();
        data.items.add(new File([bytes], 'clip.mp4', {type: 'video/mp4'}));
        const target = document.querySelector('#pnginfo_image [data-testid=image]');
        target.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}));
    })()"""
    for number, infotext in enumerate(infotexts):  # the second one in place of the first one
        browser.click(f"#txt2img_gallery .thumbnails button:nth-of-type({number + 1})")
        browser.until(f"decodeURI(document.querySelector('{PLAYER} video')?.src ?? '').includes('/0000{number}-')")
        browser.script(drop % PLAYER)
        text = "document.querySelector('#pnginfo_text textarea').value"
        browser.until(f"{text}.startsWith(arguments[0])", str(number))
        assert browser.script(text) == f"{number} {infotext}"
        browser.until("document.querySelector('#pnginfo_image img')?.naturalWidth === 32")
        assert browser.script("document.querySelector('#animatediff-pnginfo').textContent") == ""

    # what was wrong with one file is not said of the next one, whatever it is
    browser.script(
        "(document.querySelector('#animatediff-pnginfo').textContent = '⚠ clip.mp4 could not be read', true)"
    )
    browser.script(
        drop.replace("[bytes], 'clip.mp4', {type: 'video/mp4'}", "[''], 'still.png', {type: 'image/png'}") % PLAYER
    )
    browser.until("document.querySelector('#animatediff-pnginfo').textContent === ''")


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_pictures_that_move_reach_png_info_with_their_infotext(host, kind):
    """They are pictures to the page; the WebUI reads a GIF's comment and a WebP's EXIF from what gradio makes of it."""
    processed = host.generate({"format": [kind]}, api=False)
    content = base64.b64encode(Path(processed.images[0].already_saved_as).read_bytes()).decode()
    shown = gr.Image(source="upload", type="pil").preprocess(f"data:image/{kind.lower()};base64,{content}")
    raw = shown.info.get("comment") or shown.info["exif"].replace(b"\0", b"")
    assert processed.infotexts[0].encode() in raw
