"""Grids of X/Y/Z plots that move."""

from copy import copy
from pathlib import Path

import pytest
from PIL import Image

from animatediff_ext.media import MediaError, probe, read_comment, read_frames
from tests.webui.host import is_file, opened, sent
from tests.webui.test_xyz import plot_module, registered

SIDE, LEGEND = 32, 10
FRAMES = {"video_length": 3, "batch_size": 4}


def draw_xyz_grid(p, xs, ys, zs, cell, include_sub_grids):
    """As in the WebUI's scripts/xyz_grid.py: a grid over all z, one for each, then the cells. A row for each y, and a
    legend above."""
    plot, pictures, texts = None, [], []
    for iz, z in enumerate(zs):
        for iy, y in enumerate(ys):
            for ix, x in enumerate(xs):
                processed = cell(x, y, z, ix, iy, iz)
                plot = plot or copy(processed)
                pictures.append(processed.images[0] if processed.images else Image.new("RGB", (SIDE, SIDE)))
                texts.append(processed.infotexts[0] if processed.images else None)
    size = len(xs) * len(ys)
    grids = [joined(pictures[i : i + size], len(xs)) for i in range(0, len(pictures), size)]
    plot.images = [joined(grids, len(grids)), *grids, *pictures]
    plot.infotexts = [texts[0], *texts[::size], *texts]
    return plot


def joined(pictures, columns):
    width, height = pictures[0].size
    grid = Image.new("RGB", (columns * width, LEGEND + -(-len(pictures) // columns) * height), "white")
    for i, picture in enumerate(pictures):
        grid.paste(picture, (i % columns * width, LEGEND + i // columns * height))
    return grid


@pytest.fixture
def plot(host, tmp_path):
    """Makes a plot of one axis of ours over columns, and seeds over rows."""
    grid = plot_module(draw_xyz_grid=draw_xyz_grid)
    options, _ = registered(host, grid)

    def make(label, xs, *, seeds=(7,), zs=(0,), sub_grids=False, cell=None, **how):
        p = host.p({**FRAMES, "format": ["GIF"], **how.pop("animation", {})}, **how)
        vars(p).update(outpath_grids=str(tmp_path / "grids"))
        grid_infotext = [None] * (1 + len(zs))

        def generated(x, y, _z, ix, iy, iz):
            """As the plot's: what fails is a blank, but the infotext of the first one is asked for all the same."""
            one, processing = copy(p), host.module("processing")
            options[f"[AnimateDiff] {label}"].apply(one, x, xs)
            one.seed = y
            try:
                processed = (cell or processing.process_images)(one)
            except Exception:
                processed = processing.Processed(p, [], p.seed, "")
            for place in (1 + iz, 0):
                if ix == iy == 0 and grid_infotext[place] is None:
                    one.extra_generation_params = {**one.extra_generation_params, "Script": f"X/Y/Z plot {place}"}
                    grid_infotext[place] = processing.create_infotext(one, one.all_prompts, one.all_seeds, None)
            return processed

        host.shared.state.begin()
        try:
            made = grid.draw_xyz_grid(p, xs=xs, ys=seeds, zs=zs, cell=generated, include_sub_grids=sub_grids)
            made.infotexts[: 1 + len(zs)] = grid_infotext  # after the grids were drawn, as the plot does
            return made
        finally:
            assert not [name for name in vars(p) if name == "animatediff_grids"]
            host.shared.state.end()

    return make


def saved(tmp_path):
    return sorted(path.name for path in (tmp_path / "grids").rglob("*.*"))


def frames_of(image):
    return opened(image).n_frames


def test_the_grid_moves_with_its_cells_under_the_plots_legend(host, plot):
    made = plot("Motion effect", ["0", "1"], seeds=(7, 8))
    grid, still, *cells = made.images
    assert is_file(grid)
    assert not is_file(still)
    assert grid.size == (2 * SIDE, LEGEND * 2 + 2 * SIDE)
    clip = opened(grid)
    clips = [opened(cell) for cell in cells]
    assert clip.n_frames == 3
    for time in range(3):
        clip.seek(time)
        for i, cell in enumerate(clips):
            cell.seek(time)
            left, top = i % 2 * SIDE, 2 * LEGEND + i // 2 * SIDE
            shown = clip.convert("RGB").crop((left, top, left + SIDE, top + SIDE))
            assert far_apart(shown, cell.convert("RGB")) < 12, "the palette of a GIF is that of a frame"


def far_apart(one, other) -> float:
    difference = [abs(a - b) for a, b in zip(one.tobytes(), other.tobytes(), strict=True)]
    return sum(difference) / len(difference)


def test_shorter_and_slower_clips_play_again_beside_the_others(plot):
    assert frames_of(plot("Video length", [2, 3]).images[0]) == 3
    faster = opened(plot("FPS", [4, 8]).images[0])
    assert faster.n_frames == 6, "three quarters of a second at 8 frames a second"


def test_the_gallery_shows_a_file_that_moves_also_after_the_plot_was_saved(host, plot, tmp_path):
    for formats in (["MP4"], ["GIF"], ["PNG"]):
        (grid, *_) = plot("Motion effect", ["0", "1"], api=False, animation={"format": formats}).images
        grid.already_saved_as = "grid.png"  # the WebUI notes where it saved the still
        info = probe(grid.already_saved_as)
        assert (info.format, info.num_frames) == ("WEBP", 3)
    assert not (tmp_path / "grids").exists()


def test_the_page_plays_the_grid_and_its_cells(host, plot):
    host.opts.data.update(grid_save=True, samples_save=True)
    made = plot("Motion effect", ["0", "1"], api=False, animation={"format": ["MP4"]})
    grid, _, *cells = made.images
    entries = made.extra_generation_params["AnimateDiff videos"]
    assert [entry["picture"] for entry in entries] == [one.already_saved_as for one in (grid, *cells)]
    assert [probe(entry["video"]).num_frames for entry in entries] == [3, 3, 3]
    assert len({entry["video"] for entry in entries}) == 3


def test_it_is_saved_where_the_grids_are_if_they_are_saved(host, plot, tmp_path):
    host.opts.data["grid_save"] = True
    made = plot("Motion effect", ["0", "1"], api=False, animation={"format": ["MP4", "GIF", "PNG"]})
    assert saved(tmp_path) == ["xyz_grid-00000-7.gif", "xyz_grid-00000-7.mp4"]
    file = Path(made.images[0].already_saved_as)
    assert file.name == "xyz_grid-00000-7.gif"
    assert read_comment(file) == made.infotexts[0]
    plot("Motion effect", ["0", "1"], api=False)
    assert saved(tmp_path)[1:2] == ["xyz_grid-00000-7.mp4"]
    assert "xyz_grid-00001-7.gif" in saved(tmp_path)
    plot("Motion effect", ["0"], animation={"format": ["MP4"]}, do_not_save_grid=True)
    assert len(saved(tmp_path)) == 3, "a service that saves nothing"


def test_the_api_answers_with_the_file(host, plot, tmp_path):
    (grid, *_) = plot("Motion effect", ["0", "1"], animation={"format": ["MP4"]}).images
    (tmp_path / "grid.mp4").write_bytes(sent(grid))
    assert len(list(read_frames(tmp_path / "grid.mp4"))) == 3
    assert not [path for path in host.temporary.rglob("*") if path.is_file()]


def test_sub_grids_move_as_well_where_they_are_shown(plot):
    whole, first, second, *_ = plot("Motion effect", ["0"], zs=(0, 1), sub_grids=True).images
    assert [frames_of(one) for one in (whole, first, second)] == [3, 3, 3]
    whole, first, *_ = plot("Motion effect", ["0"], zs=(0, 1)).images
    assert not is_file(first)


def test_cells_without_a_clip_stay_as_they_are(host, plot):
    """AnimateDiff may be off in some, and some may have failed."""
    process = host.module("processing").process_images

    def sometimes(p):
        processed = process(p)
        if p.seed == 8:
            processed.images = []
        return processed

    assert frames_of(plot("Enabled", ["True", "False"], seeds=(7, 8), cell=sometimes).images[0]) == 3
    assert not is_file(plot("Enabled", ["False"]).images[0])


def test_off_the_grid_is_the_plots_own(host, plot):
    host.opts.data["animatediff_moving_grids"] = False
    assert type(plot("Motion effect", ["0"]).images[0]) is Image.Image


def test_a_file_that_cannot_be_written_costs_no_plot(host, plot, tmp_path):
    host.opts.data["grid_save"] = True

    def full(*_args, **_how):
        raise MediaError("The disk is full.")

    host.webui("grids").save_animation = full
    made = plot("Motion effect", ["0"], api=False)
    assert type(made.images[0]) is Image.Image
    assert "does not move: The disk is full." in made.comments


def test_a_moving_grid_has_the_plots_own_infotext(host, plot, tmp_path):
    host.opts.data["grid_save"] = True
    made = plot("Motion effect", ["0", "1"], zs=(0, 1), sub_grids=True)
    files = sorted((tmp_path / "grids").rglob("*.gif"))
    assert [read_comment(file) for file in files] == made.infotexts[:3]
    assert [text[-len("X/Y/Z plot 0") :] for text in made.infotexts[:3]] == [f"X/Y/Z plot {i}" for i in range(3)]


def test_only_the_plots_script_is_wrapped_and_once(host):
    grid = plot_module(draw_xyz_grid=draw_xyz_grid)
    registered(host, grid)
    wrapped = grid.draw_xyz_grid
    host.callbacks.call("before_ui")
    assert grid.draw_xyz_grid is wrapped
    assert wrapped.__wrapped__ is draw_xyz_grid


def test_a_cell_that_is_refused_says_why_and_ends_no_plot(host, plot):
    for modules in (["no such", "v2.safetensors"], ["v2.safetensors", "no such"]):
        made = plot("Motion Module", modules)
        assert frames_of(made.images[0]) == 3, "with the clip of the other cell"
        assert made.comments.count("'no such' was not found") == 1
        assert "'no such' was not found" in "".join(made.extra_generation_params["AnimateDiff comments"])


def test_a_plot_of_which_all_cells_are_refused_is_none(host, plot):
    with pytest.raises(host.error, match="'no such' was not found"):
        plot("Motion Module", ["no such"], seeds=(7, 8))


def test_comments_of_later_cells_are_the_plots(host, plot):
    process = host.module("processing").process_images

    def commented(p):
        p.comment(f"Seed {p.seed} was made.")
        return process(p)

    assert plot("Motion effect", ["0"], seeds=(7, 8), cell=commented).comments == "Seed 7 was made.\nSeed 8 was made.\n"


def test_each_moment_is_drawn_once(host, plot, monkeypatch, tmp_path):
    host.opts.data["grid_save"] = True
    grids, drawn = host.webui("grids"), []
    shown = grids._shown
    monkeypatch.setattr(grids, "_shown", lambda cell, time_s: (drawn.append(time_s), shown(cell, time_s))[1])
    animation = {"format": ["MP4", "GIF", "WEBM"]}
    plot("Motion effect", ["0"], zs=(0, 1), sub_grids=True, animation=animation, api=False)
    assert len(drawn) == 3 * 2, "three moments of two cells"
    assert len(saved(tmp_path)) == 3 * 3


@pytest.mark.parametrize("button", ["interrupted", "stopping_generation"])
def test_drawing_can_be_interrupted(host, plot, monkeypatch, button):
    grids = host.webui("grids")
    save, before = grids.save_animation, []

    def interrupt(*args, **how):
        before.append(sorted(path.name for path in host.temporary.iterdir()))
        setattr(host.shared.state, button, True)
        return save(*args, **how)

    monkeypatch.setattr(grids, "save_animation", interrupt)
    made = plot("Motion effect", ["0"])
    assert not is_file(made.images[0])
    assert "interrupted" in made.comments
    assert before
    assert not [path for path in host.temporary.rglob("*") if path.is_file()]


def test_settings_of_the_request_count(host, plot, tmp_path):
    still = plot("Motion effect", ["0"], override_settings={"animatediff_moving_grids": False}).images[0]
    assert not is_file(still)
    plot("Motion effect", ["0"], override_settings={"grid_save": True})
    assert saved(tmp_path) == ["xyz_grid-00000-7.gif"]
    assert set(vars(host.opts)) == {"data", "data_labels"}
