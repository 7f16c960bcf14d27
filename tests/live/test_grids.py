"""X/Y/Z plots of a real WebUI, through the API: every cell of its own settings, and grids that move."""

import base64
import io
import json

import pytest
from PIL import Image

from tests.live.conftest import STILL, decoded

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("unchanged")]

OURS = "[AnimateDiff] "


@pytest.fixture(scope="module")
def axes(webui) -> list[str]:
    """Labels of txt2img, in the plot's order."""
    scripts = webui.get("/sdapi/v1/script-info")
    found = [one for one in scripts if one["name"] == "x/y/z plot" and not one["is_img2img"]]
    assert found, "the WebUI has no X/Y/Z plot"
    return found[0]["args"][0]["choices"]


def plot(webui, axes, x: tuple[str, str], y: tuple[str, str] = ("Nothing", ""), *, animation=None, alone=True):
    """The answer's pictures: the grid, and with ``alone`` the cells. Axes are a label and values, as text."""
    arguments = {"enable": True, "model": webui.motion_module, "video_length": 4, "batch_size": 8, "format": ["MP4"]}
    axis = [value for label, values in (x, y, ("Nothing", "")) for value in (axes.index(label), values, [])]
    legend, sub_grids, keep_seeds, vary, margin, text = True, False, False, [False] * 3, 0, True
    answer = webui.post(
        "txt2img",
        **STILL,
        sampler_name="Euler a",
        script_name="X/Y/Z plot",
        script_args=[*axis, legend, alone, sub_grids, keep_seeds, *vary, margin, text],
        alwayson_scripts={"AnimateDiff": {"args": [{**arguments, **(animation or {})}]}},
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["images"], json.loads(answer.json()["info"])


def test_every_setting_is_an_axis(axes, webui):
    schema = webui.get("/animatediff/v1/schema")["properties"]
    ours = [label for label in axes if label.startswith(OURS)]
    assert len(ours) == len(set(ours))
    assert len(ours) == len([known for known in schema.values() if "x-img2img-only" not in known])
    old = "Enabled, Motion Module, Video length, FPS, Closed loop, Batch size, Stride, Overlap, Interp, Interp X"
    assert {f"{OURS}{label}" for label in f"{old}, Video path".split(", ")} <= set(ours)


def test_the_grid_is_a_clip_of_all_cells(webui, axes):
    (grid, *cells), _ = plot(webui, axes, (f"{OURS}Motion effect", "0, 1"), ("Seed", "7, 8"))
    clip = decoded(grid, ".mp4")
    assert clip.num_frames == 4
    assert clip.width >= 2 * STILL["width"]
    assert clip.height > 2 * STILL["height"], "with the plot's legend"
    assert [decoded(cell, ".mp4").num_frames for cell in cells] == [4] * 4
    assert len(set(cells)) == 4


@pytest.mark.parametrize(("name", "ending"), [("GIF", ".gif"), ("WEBP", ".webp"), ("MP4", ".mp4")])
def test_in_the_format_of_the_animations(webui, axes, name, ending):
    (grid, *_), _ = plot(webui, axes, (f"{OURS}Motion effect", "0, 1"), animation={"format": [name]})
    assert decoded(grid, ending).num_frames == 4


def test_clips_of_different_length_and_rate_play_beside_each_other(webui, axes):
    (grid, *cells), _ = plot(webui, axes, (f"{OURS}Video length", "2-5"), (f"{OURS}FPS", "4, 8"))
    assert [decoded(cell, ".mp4").num_frames for cell in cells] == [2, 3, 4, 5] * 2
    clip = decoded(grid, ".mp4")
    assert clip.fps == pytest.approx(8)
    assert clip.num_frames == 10


def test_every_cell_begins_with_the_settings_of_the_request(webui, axes):
    """What one cell settles (frames, overlap) must not be the next one's."""
    (_, *cells), _ = plot(webui, axes, (f"{OURS}Batch size", "2, 6, 3"), animation={"video_length": 0, "overlap": -1})
    assert [decoded(cell, ".mp4").num_frames for cell in cells] == [2, 6, 3]


def test_cells_with_animatediff_off_are_stills(webui, axes):
    (grid, first, second), _ = plot(webui, axes, (f"{OURS}Enabled", "True, False"))
    assert decoded(grid, ".mp4").num_frames == decoded(first, ".mp4").num_frames == 4
    assert Image.open(io.BytesIO(base64.b64decode(second))).format == "PNG"


def test_off_the_grid_is_a_picture(webui, axes):
    before = webui.get("/sdapi/v1/options")["animatediff_moving_grids"]
    webui.post("options", animatediff_moving_grids=False)
    try:
        (grid, *_), _ = plot(webui, axes, (f"{OURS}Motion effect", "0, 1"))
        assert Image.open(io.BytesIO(base64.b64decode(grid))).format == "PNG"
    finally:
        webui.post("options", animatediff_moving_grids=before)
