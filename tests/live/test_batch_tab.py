"""The tab *Batch* of img2img in a browser: a folder is one video with AnimateDiff on, and pictures with it off."""

import pytest
from PIL import Image

from animatediff_ext.media import probe
from tests.live.test_page import choose
from tests.webui.browser import chromium, needs_chromium

pytestmark = pytest.mark.live

FRAMES = 5
PLAYER = "#img2img_gallery .animatediff-player"
INTERRUPT = "document.querySelector('#img2img_interrupt').style.display"
LOG = "document.querySelector('#html_log_img2img').textContent"


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(FRAMES):
        Image.new("RGB", (64, 64), (40 * number, 200 - 40 * number, 90)).save(folder / f"{number}.png")
    return folder


@needs_chromium
def test_a_visit(webui, tmp_path, pictures):
    with chromium(tmp_path / "profile") as browser:
        browser.size(1600, 1400)
        browser.open(webui.url)
        browser.until("document.querySelector('#img2img-ad-accordion .animatediff-summary')", seconds=120)
        browser.until("Object.keys(opts).length > 0", seconds=60)
        browser.click("#tabs > .tab-nav > button:nth-of-type(2)")
        browser.type("#img2img_prompt textarea", "a red circle")
        for name, number in {"steps": "3", "width": "64", "height": "64"}.items():
            browser.type(f"#img2img_{name} input[type=number]", number)
        browser.click("#mode_img2img > .tab-nav > button:nth-of-type(6)")
        browser.click("#img2img_batch_source > .tab-nav > button:nth-of-type(2)")

        # with AnimateDiff off, the WebUI's own
        browser.type("#img2img_batch_input_dir textarea", str(pictures))
        browser.type("#img2img_batch_output_dir textarea", str(tmp_path / "stills"))
        generate(browser)
        assert len([*(tmp_path / "stills").glob("*.png")]) == FRAMES

        # on
        browser.click("#img2img-ad-accordion > .label-wrap")
        choose(browser, "img2img-ad-motion-module", webui.motion_module)
        browser.click("#img2img-ad-enable input")
        mp4 = "#img2img-ad-save-format label:nth-of-type(2) input"
        if not browser.script("document.querySelector(arguments[0]).checked", mp4):
            browser.click(mp4)
        browser.type("#img2img-ad-video-length input", "0")
        browser.type("#img2img_batch_output_dir textarea", str(tmp_path / "video"))
        generate(browser)
        browser.until(f"document.querySelector('{PLAYER} video')?.currentTime > 0", seconds=30)
        (video,) = (tmp_path / "video").rglob("*.mp4")
        assert probe(video).num_frames == FRAMES

        # with a mask for all frames
        masks = tmp_path / "masks"
        masks.mkdir()
        Image.new("L", (64, 64), 255).save(masks / "mask.png")
        browser.type("#img2img_batch_inpaint_mask_dir textarea", str(masks))
        browser.type("#img2img_batch_output_dir textarea", str(tmp_path / "masked"))
        generate(browser)
        (video,) = (tmp_path / "masked").rglob("*.mp4")
        assert probe(video).num_frames == FRAMES
        browser.type("#img2img_batch_inpaint_mask_dir textarea", " ")

        # what is wrong is said
        (tmp_path / "nothing").mkdir()
        browser.type("#img2img_batch_input_dir textarea", str(tmp_path / "nothing"))
        said = generate(browser)
        assert "has no pictures" in said
        assert str(tmp_path / "nothing") in said


def generate(browser) -> str:
    """Press *Generate*, and wait until all is done; what is said below the gallery then."""
    for _ in range(3):
        browser.click("#img2img_generate")
        browser.until(f"{INTERRUPT} === 'block'")
        browser.until(f"{INTERRUPT} !== 'block' && /^\\s*(Error|AnimateDiffError|Time taken)/.test({LOG})", seconds=300)
        said = browser.script(LOG).strip()
        if not said.startswith("Error"):  # which gradio says, without asking the WebUI, where a machine is busy
            return said
    raise TimeoutError("The WebUI was not asked.")
