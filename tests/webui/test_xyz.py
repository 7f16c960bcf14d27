"""Axes of the X/Y/Z plot, whose cells are copies of one request."""

from copy import copy
from types import SimpleNamespace

import pytest

from animatediff_ext.params import SETTINGS
from tests.webui.generations import same
from tests.webui.host import NUM_FRAMES, is_file, picture


class AxisOption:
    """As in the WebUI's scripts/xyz_grid.py."""

    def __init__(self, label, type, apply, format_value=None, confirm=None, cost=0.0, choices=None):
        self.label, self.type, self.apply, self.confirm, self.choices = label, type, apply, confirm, choices
        self.cost = cost


class AxisOptionImg2Img(AxisOption):
    pass


def plot_module(**more):
    return SimpleNamespace(axis_options=[], AxisOption=AxisOption, AxisOptionImg2Img=AxisOptionImg2Img, **more)


@pytest.fixture
def axes(host):
    return registered(host, plot_module())


def loaded(host, grid):
    """As the WebUI has it once it has read its scripts."""
    script_class = type("Script", (), {"__module__": "xyz_grid.py"})
    host.module("scripts").scripts_data.append(SimpleNamespace(script_class=script_class, module=grid))
    return grid


def registered(host, grid):
    loaded(host, grid)
    for _ in range(2):  # Reload UI
        host.script.show(False)
        host.callbacks.call("before_ui")
    return {option.label: option for option in grid.axis_options}, grid


def test_axes_are_there_before_the_plot_is_built_where_there_is_no_page(host):
    """The API alone asks scripts to show themselves, then for their fields, and only then calls *before_ui*."""
    grid = loaded(host, plot_module())
    host.script.show(False)
    assert len(grid.axis_options) == len(SETTINGS)


def test_every_setting_is_an_axis_once(axes):
    options, grid = axes
    assert len(options) == len(grid.axis_options)
    assert len(options) == len(SETTINGS)
    old = "Enabled, Motion Module, Video length, FPS, Closed loop, Batch size, Stride, Overlap, Interp, Interp X"
    old += ", Video path"
    of_img2img = "Latent power, Latent scale, Latent power last, Latent scale last"
    assert {f"[AnimateDiff] {label}" for label in f"{old}, {of_img2img}".split(", ")} <= set(options)


@pytest.mark.parametrize(
    ("label", "value", "api", "means"),
    [
        ("Enabled", "False", "enable", False),
        ("Motion Module", "v1.safetensors", "model", "v1.safetensors"),
        ("Video length", 3, "video_length", 3),
        ("FPS", 12, "fps", 12),
        ("Closed loop", "R+P", "closed_loop", "R+P"),
        ("Batch size", 3, "batch_size", 3),
        ("Stride", 2, "stride", 2),
        ("Overlap", 1, "overlap", 1),
        ("Interp", "False", "interp", "Off"),
        ("Interp X", 4, "interp_x", 4),
        ("Latent power", 2.5, "latent_power", 2.5),
        ("Latent scale last", 64, "latent_scale_last", 64),
    ],
)
def test_axes_of_saved_plots_take_what_they_took(host, axes, label, value, api, means):
    option = axes[0][f"[AnimateDiff] {label}"]
    option.confirm(None, [value])
    p = host.p({})
    option.apply(p, value, [])
    assert host.webui("xyz").values_of(p) == {api: means}


def test_each_cell_is_what_its_axes_say(host, axes):
    options, _ = axes
    p = host.p({})
    cells = []
    for effect in ("0", "1", "0"):
        cell = copy(p)
        options["[AnimateDiff] Motion effect"].apply(cell, effect, [])
        options["[AnimateDiff] Video length"].apply(cell, 3, [])
        cells.append(host.run(cell).images)
    assert {len(cell) for cell in cells} == {3}
    assert same(cells[0], cells[2])
    assert not same(cells[0], cells[1])
    assert len(host.run(p).images) == NUM_FRAMES, "the request itself is as it was"


def test_formats_and_pictures_are_axes_too(host, axes, tmp_path):
    options, _ = axes
    picture("blue").save(tmp_path / "last.png")
    p = host.p({}, init_images=[picture()])
    plain = host.run(copy(p)).images
    for label, value in (("Save format", "GIF+MP4"), ("Last frame", str(tmp_path / "last.png")), ("Request id", "a-1")):
        option = options[f"[AnimateDiff] {label}"]
        option.confirm(None, [value])
        option.apply(p, value, [])
    processed = host.run(p)
    assert [is_file(image) for image in processed.images] == [True, True]
    assert host.files() == ["AnimateDiff/00000-7-a-1.gif", "AnimateDiff/00000-7-a-1.mp4"]
    options["[AnimateDiff] Save format"].apply(p, "Frame", [])
    assert not same(host.run(p).images, plain), "the last frame counts"
    with pytest.raises(host.error, match=r"nothing\.png"):
        options["[AnimateDiff] Last frame"].confirm(None, [str(tmp_path / "nothing.png")])


def test_motion_modules_change_as_seldom_as_possible(axes):
    options, _ = axes
    assert {label for label, option in options.items() if option.cost} == {
        "[AnimateDiff] Motion Module",
        "[AnimateDiff] Second motion module",
    }


def test_a_value_that_cannot_be_is_said_before_the_plot_begins(host, axes):
    options, _ = axes
    with pytest.raises(host.error, match="FPS"):
        options["[AnimateDiff] FPS"].confirm(None, [8, -1])


@pytest.mark.parametrize(
    ("label", "right", "wrong", "words"),
    [
        ("Motion effect", "0: 0, 100%: 1", "banana", "'banana'"),
        ("Effect over sampling", "0%: 1, 50%: 0", "3: 1", "key at 3"),
        ("Effect in blocks", "mid: 0", "left 3: 1", "'left 3: 1'"),
        ("Motion LoRAs", "zoom @ 0%: 1, 60%: 0", "zoom @ 8: 1", "key at 8"),
    ],
)
def test_a_text_that_cannot_be_read_is_said_then_too(host, axes, label, right, wrong, words):
    confirm = axes[0][f"[AnimateDiff] {label}"].confirm
    confirm(None, [right])
    with pytest.raises(host.error, match=words):
        confirm(None, [right, wrong])
