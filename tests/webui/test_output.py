"""Videos in the output folder, in the gallery, and in the API's answer."""

import datetime
import importlib
import io
import os
import re
import shutil
import time
from pathlib import Path

import pytest
from PIL import Image

from animatediff_ext.media import interpolate, probe, read_comment
from animatediff_ext.media.errors import MediaError
from tests.webui.generations import at_step, same, script
from tests.webui.host import NUM_FRAMES, is_file, opened, picture, request, sent

ALL = ["PNG", "WEBM", "WEBP", "MP4", "GIF", "Frame", "TXT"]


def gallery_files(processed) -> list[Path]:
    return [Path(image.already_saved_as) for image in processed.images]


def leftovers(host) -> list[str]:
    return [path.name for path in host.temporary.rglob("*")]


def test_the_api_returns_files_in_the_old_order_and_then_the_frames(host):
    processed = host.generate({"format": ALL})
    *files, first, second, third, fourth = processed.images
    magic = [
        opened(file).format if kind == "picture" else kind
        for file, kind in zip(files, ["picture", "MP4", "picture", "WEBM"], strict=True)
    ]
    assert magic == ["GIF", "MP4", "WEBP", "WEBM"]
    assert all(is_file(file) for file in files)
    assert {file.size for file in files} == {(32, 32)}, "to other scripts they are pictures"
    assert {frame.size for frame in (first, second, third, fourth)} == {(32, 32)}
    assert len(processed.infotexts) == len(processed.images)
    assert processed.index_of_first_image == 0


@pytest.mark.parametrize("formats", [["PNG"], ["GIF", "Frame"]])
@pytest.mark.parametrize("changes", [{}, {"closed_loop": "A"}, {"interp": "FFmpeg", "interp_x": 2}])
def test_single_frames_say_how_the_video_was_made(host, formats, changes):
    """Pasted into the page, each of them makes this video again."""
    processed = host.generate({"format": formats, **changes}, n_iter=2)
    said = [(image.info["parameters"], text) for image, text in zip(processed.images, processed.infotexts, strict=True)]
    assert [one for one, _ in said] == [text for _, text in said]
    assert {re.search(r"Seed: (\d+)", one)[1] for one, _ in said} == {"7", "11"}
    host.opts.data["enable_pnginfo"] = False
    assert not any("parameters" in image.info for image in host.generate({"format": formats, **changes}).images)


@pytest.mark.parametrize("samples_format", ["PNG", "JPEG", "WEBP"])
def test_what_the_api_returns_moves_also_where_frames_have_alpha(host, samples_format):
    def transparent(p, args, *_args):
        args.image.putalpha(100)

    other = script(host, postprocess_image_after_composite=transparent)
    gif, *frames = host.generate({"format": ["GIF", "Frame"]}, scripts=[other]).images
    assert Image.open(io.BytesIO(sent(gif, samples_format))).n_frames == NUM_FRAMES
    assert {frame.mode for frame in frames} == {"RGBA"}


def test_what_the_api_returns_are_those_files(host, tmp_path):
    files = host.generate({"format": ["GIF", "MP4", "WEBP", "WEBM"], "fps": 5}).images
    for data, ending in zip(files, (".gif", ".mp4", ".webp", ".webm"), strict=True):
        path = tmp_path / f"answer{ending}"
        path.write_bytes(sent(data))
        clip = probe(path)
        assert (clip.num_frames, clip.width, clip.height) == (NUM_FRAMES, 32, 32), ending
        assert clip.fps == pytest.approx(5, rel=0.01), ending


@pytest.mark.parametrize("formats", [["PNG"], ["TXT"], ["TXT", "PNG"]])
def test_the_api_returns_frames_where_there_is_no_video(host, formats):
    assert [image.size for image in host.generate({"format": formats}).images] == [(32, 32)] * NUM_FRAMES


def test_several_videos_follow_each_other_and_then_come_the_frames(host):
    processed = host.generate({"format": ["GIF", "MP4", "Frame"]}, n_iter=2)
    kinds = ["file" if is_file(image) else "frame" for image in processed.images]
    assert kinds == ["file"] * 4 + ["frame"] * 2 * NUM_FRAMES
    assert opened(processed.images[0]).n_frames == NUM_FRAMES
    assert sent(processed.images[0]) != sent(processed.images[2])
    seeds = [re.search(r"Seed: (\d+)", text)[1] for text in processed.infotexts]
    assert seeds == ["7"] * 2 + ["11"] * 2 + ["7"] * NUM_FRAMES + ["11"] * NUM_FRAMES
    assert host.files() == [
        "AnimateDiff/00000-7.gif",
        "AnimateDiff/00000-7.mp4",
        "AnimateDiff/00001-11.gif",
        "AnimateDiff/00001-11.mp4",
    ]


@pytest.mark.parametrize(
    ("animation", "num_played"),
    [({"closed_loop": "A"}, 2 * NUM_FRAMES - 2), ({"interp": "FFmpeg", "interp_x": 3}, 3 * NUM_FRAMES - 2)],
)
def test_single_frames_are_those_that_the_file_has(host, animation, num_played):
    gif, *frames = host.generate({"format": ["GIF", "Frame"], **animation}).images
    assert len(frames) == opened(gif).n_frames == num_played
    assert {frame.size for frame in frames} == {(32, 32)}
    assert len(host.generate({"format": ["PNG"], **animation}).images) == NUM_FRAMES, "of no file, those generated"


@pytest.mark.parametrize("formats", [["MP4"], ["GIF"], ["MP4", "Frame"], ["WEBM", "TXT", "Frame"]])
@pytest.mark.parametrize("api", [True, False])
@pytest.mark.parametrize("save", [True, False])
def test_interpolated_frames_are_made_once_for_files_answer_and_gallery(host, monkeypatch, formats, api, save):
    runs, made = [], interpolate._Interpolated.__iter__
    monkeypatch.setattr(interpolate._Interpolated, "__iter__", lambda clip: runs.append(clip) or made(clip))
    animation = {"format": formats, "interp": "FFmpeg", "interp_x": 2}
    processed = host.generate(animation, api=api, do_not_save_samples=not save)
    assert len(processed.images) == (1 + ("Frame" in formats) * (2 * NUM_FRAMES - 1) if api else 1)
    assert len(runs) == 1


def test_another_extension_gets_frames_where_it_asks_for_no_video(host):
    """As Replacer asks, which has no page's fields, but an argument object, and pastes frames into its own video."""
    kind = importlib.import_module("scripts.animatediff_ui").AnimateDiffProcess
    fields = host.webui("arguments").page_fields(False)

    def generate(formats):
        args = [kind(**request(format=formats)), *[None] * len(fields)]
        return host.run(host.p(args=args, api=False))

    processed = generate(["PNG"])
    assert same(processed.images, host.generate({}).images)
    assert len(processed.images) == len(processed.infotexts) == len(processed.all_seeds)
    assert [name for name in host.files() if name.endswith("00003.png")]
    assert len(generate(["GIF"]).images) == 1


def test_the_pages_own_request_stays_the_pages_when_others_look_at_it(host):
    """ControlNet asks for the argument object in the tab Batch."""
    p = host.p({"format": ["PNG"]}, api=False)
    importlib.import_module("scripts.animatediff_utils").get_animatediff_arg(p)
    assert len(host.run(p).images) == 1


def test_file_names_and_folder_are_the_old_ones(host):
    host.generate({"format": ["GIF", "MP4", "WEBP", "WEBM", "PNG", "TXT"], "request_id": "job-1"})
    today = host.output / "AnimateDiff" / datetime.date.today().isoformat()
    endings = [".gif", ".mp4", ".webp", ".webm", ".txt", ""]
    assert sorted(path.name for path in today.iterdir()) == sorted(f"00000-7-job-1{ending}" for ending in endings)
    assert sorted(path.name for path in (today / "00000-7-job-1").iterdir()) == [f"{i:05}.png" for i in range(4)]
    host.generate({"format": ["TXT"]}, seed=9)
    assert (today / "00001-9.txt").is_file()


def test_files_carry_the_infotext(host):
    processed = host.generate({"format": ["GIF", "MP4", "TXT", "PNG"]})
    paths = {path.suffix: path for path in host.output.rglob("*") if path.is_file()}
    assert "AnimateDiff:" in processed.infotexts[0]
    for ending in (".gif", ".mp4", ".txt"):
        text = paths[ending].read_text() if ending == ".txt" else read_comment(paths[ending])
        assert text == processed.infotexts[0], ending
    assert Image.open(paths[".png"]).info["parameters"] == processed.infotexts[0]
    host.opts.data["enable_pnginfo"] = False
    processed = host.generate({"format": ["GIF", "TXT"]}, seed=9)
    assert not read_comment(next(host.output.rglob("*-9.gif")))
    assert next(host.output.rglob("*-9.txt")).read_text() == processed.infotexts[0], "it is nothing else"


def test_frames_go_where_stills_go_if_the_user_wants_them_there(host):
    host.opts.data["animatediff_save_to_custom"] = False
    processed = host.generate({"format": ["PNG", "MP4"]})
    assert host.files() == [
        "00000-7.png",
        "00001-8.png",
        "00002-9.png",
        "00003-10.png",
        "AnimateDiff/00000-7.mp4",
    ]
    assert len(processed.images) == 1


@pytest.mark.parametrize("formats", [["GIF"], ["WEBP"], ["MP4"], ["PNG"], ["TXT"], ["GIF", "WEBP", "MP4"]])
def test_the_gallery_shows_one_moving_picture_a_video(host, formats):
    """A PIL picture, which other scripts can use, that stands for a file, which the gallery serves."""
    processed = host.generate({"format": formats}, api=False, n_iter=2)
    assert [image.size for image in processed.images] == [(32, 32)] * 2
    assert len(processed.infotexts) == 2
    files = gallery_files(processed)
    assert len(set(files)) == 2
    for file in files:
        with Image.open(file) as shown:
            assert shown.n_frames == NUM_FRAMES
            assert shown.format in ("GIF", "WEBP")
        is_kept = "GIF" in formats or "WEBP" in formats
        assert file.is_relative_to(host.output) == is_kept, "a preview is not in the output folder"


def test_the_gallery_works_without_saving(host):
    for changes in ({"do_not_save_samples": True}, {"override_settings": {"samples_save": False}}):
        processed = host.generate({"format": ["GIF", "PNG", "TXT"]}, api=False, **changes)
        assert host.files() == [], changes
        (file,) = gallery_files(processed)
        assert Image.open(file).n_frames == NUM_FRAMES


def test_previews_go_into_the_users_temporary_folder(host, tmp_path):
    host.opts.data["temp_dir"] = str(tmp_path / "previews")
    (tmp_path / "previews").mkdir()
    (file,) = gallery_files(host.generate({"format": ["MP4"]}, api=False))
    assert file.is_relative_to(tmp_path / "previews")


def test_the_api_needs_no_folder_for_previews(host, tmp_path):
    """The user may have set one that is not there."""
    host.opts.data["temp_dir"] = str(tmp_path / "not there")
    for changes in ({}, {"do_not_save_samples": True}):
        assert len(host.generate({"format": ["GIF"]}, **changes).images) == 1


@pytest.mark.parametrize("formats", [ALL, ["GIF"], ["PNG"], ["TXT"], ["Frame"], ["PNG", "Frame"]])
def test_nothing_stays_on_the_disk_of_a_service_that_saves_nothing(host, formats):
    processed = host.generate({"format": formats}, do_not_save_samples=True, n_iter=2)
    assert processed.images
    assert host.files() == []
    assert leftovers(host) == []


def test_nothing_stays_after_an_error_either(host, monkeypatch):
    def fail(*_args, **_kwargs):
        raise MediaError("The disk is full.")

    monkeypatch.setitem(host.webui("output").save_animation.__globals__["WRITERS"], "MP4", fail)
    with pytest.raises(host.error, match="disk is full"):
        host.generate({"format": ["GIF", "MP4"]}, do_not_save_samples=True)
    assert leftovers(host) == []


@pytest.mark.parametrize("button", ["interrupted", "skipped"])
def test_what_was_cut_short_is_kept_only_if_the_user_wants_it(host, button):
    def stop(_params):
        setattr(host.shared.state, button, True)

    at_step(host, 0, stop)
    first = host.generate({"format": ["GIF", "PNG"]})
    assert [is_file(image) for image in first.images] == [True], "it is shown all the same"
    assert host.files() == []
    assert leftovers(host) == [], "and leaves nothing behind, since the answer holds it"
    host.opts.data["save_incomplete_images"] = True
    at_step(host, 0, stop)
    host.generate({"format": ["GIF", "TXT"]})
    assert host.files() == ["AnimateDiff/00000-7.gif", "AnimateDiff/00000-7.txt"]


def test_a_skipped_video_does_not_cost_the_next_one(host):
    at_step(host, 0, lambda _params: setattr(host.shared.state, "skipped", True))
    processed = host.generate({"format": ["GIF"]}, n_iter=2)
    assert len(processed.images) == 2
    assert host.files() == ["AnimateDiff/00000-11.gif"]


@pytest.mark.parametrize(
    ("button", "files"),
    [
        ("interrupted", ["AnimateDiff/00000-7.gif"]),
        ("stopping_generation", ["AnimateDiff/00000-7.gif"]),
        ("skipped", ["AnimateDiff/00000-7.gif", "AnimateDiff/00001-11.gif"]),
    ],
)
def test_a_button_that_is_pressed_while_a_video_is_written_is_heard(host, monkeypatch, button, files):
    """The host looks for it before it asks us; what comes after its look would cost or make a whole video."""
    output = host.webui("output")
    save = output.save_animation

    def pressed(*args, **how):
        setattr(host.shared.state, button, True)
        return save(*args, **how)

    monkeypatch.setattr(output, "save_animation", pressed)
    processed = host.generate({"format": ["GIF"]}, n_iter=2)
    assert len(processed.images) == len(processed.infotexts) == len(files)
    assert host.files() == files
    assert processed.comments == ""


def test_masks_beside_the_pictures_do_not_disturb_the_frames(host):
    mask = Image.new("L", (32, 32), 255)
    fields = {"init_images": [picture()], "image_mask": mask, "n_iter": 2}
    expected = host.generate({}, **fields)
    for options in (["return_mask"], ["return_mask", "return_mask_composite"]):
        host.opts.data.update(dict.fromkeys(options, True))
        processed = host.generate({}, **fields)
        assert same(processed.images, expected.images)
        assert processed.infotexts == expected.infotexts


@pytest.mark.parametrize("hook", ["postprocess_image", "postprocess_image_after_composite"])
def test_the_frames_are_those_that_other_scripts_made(host, hook):
    """Also one that is asked after us."""

    def white(p, args, *_args):
        args.image = Image.new("RGB", args.image.size, "white")

    processed = host.generate({}, scripts=[script(host, **{hook: white})])
    assert [frame.getcolors() for frame in processed.images] == [[(32 * 32, (255, 255, 255))]] * NUM_FRAMES


@pytest.mark.parametrize("num_maps", [1, NUM_FRAMES, 2 * NUM_FRAMES])
@pytest.mark.parametrize("order", ["before", "after"])
def test_pictures_that_other_scripts_add_are_no_frames(host, order, num_maps):
    """ControlNet adds what it detected, without infotexts; which script is asked first, nobody chooses."""

    def add(p, processed, *_args):
        processed.images.extend(Image.new("RGB", (32, 32), "black") for _ in range(num_maps))

    expected = host.generate({})
    p = host.p({})
    place = 0 if order == "before" else 1
    p.scripts.scripts.insert(place, script(host, postprocess=add))
    processed = host.run(p)
    assert same(processed.images[:NUM_FRAMES], expected.images)
    assert processed.infotexts[:NUM_FRAMES] == expected.infotexts


def fails_in_the_second_video(host):
    """A script of another extension cannot fail so that a generation ends; the host's model can."""
    videos = []
    decode = host.shared.sd_model.decode

    def full(latent):
        videos.append(latent)
        if len(videos) == 2:
            raise MemoryError("no memory for the second one")
        return decode(latent)

    host.shared.sd_model.decode = full


@pytest.mark.parametrize("api", [True, False])
def test_a_video_that_is_finished_survives_the_failure_of_a_later_one(host, api):
    expected = host.generate({"format": ["GIF", "TXT", "PNG"]}, api=api)
    (whole,) = host.output.rglob("*.gif")
    content, files = whole.read_bytes(), host.files()
    shutil.rmtree(host.output / "AnimateDiff")
    fails_in_the_second_video(host)
    with pytest.raises(MemoryError):
        host.generate({"format": ["GIF", "TXT", "PNG"]}, api=api, n_iter=3)
    assert host.files() == files
    assert whole.read_bytes() == content
    assert next(host.output.rglob("*.txt")).read_text() == expected.infotexts[0]


def test_a_failure_between_two_videos_costs_none_either(host, monkeypatch):
    """Before the next one begins, the host looks whether the checkpoint is the right one."""
    reload, videos = host.sd_models.reload_model_weights, []

    def lost(info=None):
        if len(videos) == 1:
            raise FileNotFoundError("the checkpoint")
        reload(info)

    monkeypatch.setattr(host.sd_models, "reload_model_weights", lost)
    watch = script(host, postprocess_batch=lambda *_args, **_how: videos.append(1))
    with pytest.raises(FileNotFoundError):
        host.generate({"format": ["GIF"]}, n_iter=2, scripts=[watch], override_settings={"samples_save": True})
    assert host.files() == ["AnimateDiff/00000-7.gif"]


def test_a_video_of_which_frames_are_missing_is_none(host):
    def stop(p, *_args):
        if p.batch_index == 2:
            p.overlay_images = 1  # at which the host fails

    with pytest.raises(TypeError):
        host.generate({"format": ["GIF"]}, scripts=[script(host, postprocess_image=stop)])
    assert host.files() == []


def test_files_of_several_videos_say_what_each_is(host):
    processed = host.generate({"format": ["TXT", "GIF"]}, n_iter=2)
    assert [path.read_text() for path in sorted(host.output.rglob("*.txt"))] == processed.infotexts
    assert processed.comments == ""


def test_no_grid_and_no_stills_are_saved(host):
    processed = host.generate({"format": ["GIF"]})
    assert len(processed.images) == 1
    assert host.files() == ["AnimateDiff/00000-7.gif"]


def test_a_short_closed_loop_plays_back(host):
    (gif,) = host.generate({"format": ["GIF"], "closed_loop": "A"}).images
    assert opened(gif).n_frames == 2 * NUM_FRAMES - 2


def test_interpolation_keeps_the_duration(host):
    gif, plain = (
        opened(host.generate({"format": ["GIF"], "fps": 4, **change}).images[0])
        for change in ({"interp": "FFmpeg", "interp_x": 3}, {})
    )
    assert gif.n_frames > 2 * plain.n_frames
    assert duration(gif) == pytest.approx(duration(plain), rel=0.35)


def duration(clip) -> float:
    total = 0
    for i in range(clip.n_frames):
        clip.seek(i)
        total += clip.info["duration"]
    return total


def test_encoder_settings_are_the_users(host):
    sizes = []
    for crf in (0, 51):
        host.opts.data["animatediff_mp4_crf"] = crf
        sizes.append(len(sent(host.generate({"format": ["MP4"]}).images[0])))
    assert sizes[0] > 1.2 * sizes[1]


def test_numbers_go_on_where_the_folder_stops(host):
    today = host.output / "AnimateDiff" / datetime.date.today().isoformat()
    today.mkdir(parents=True)
    (today / "00041-1.gif").touch()
    os.utime(today / "00041-1.gif")
    host.generate({"format": ["TXT"]})
    assert (today / "00042-7.txt").is_file()


def test_previews_of_yesterday_go_at_the_next_start(host, tmp_path):
    (today,) = gallery_files(host.generate({"format": ["MP4"]}, api=False))
    (old,) = gallery_files(host.generate({"format": ["MP4"]}, api=False))
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "animation.webp").touch()
    others = [host.temporary / "animatediff-projects", host.temporary / "animatediff-controlnet-abcdefgh"]
    for folder in others:
        folder.mkdir()
        (folder / "animation.blend").touch()
    link = host.temporary / "animatediff-abcdefgh"
    link.symlink_to(kept, target_is_directory=True)
    inside = host.temporary / "animatediff-12345678"
    inside.mkdir()
    (inside / "animation.gif").symlink_to(kept / "animation.webp")
    for folder in (old.parent, kept, inside, *others):
        os.utime(folder, (time.time() - 2 * 24 * 60 * 60,) * 2)
    host.callbacks.call("before_ui")
    assert today.is_file()
    assert not old.parent.exists()
    assert (kept / "animation.webp").is_file()
    assert all(folder.is_dir() for folder in (link, inside, *others))
