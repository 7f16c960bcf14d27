"""Where the pictures that guide a clip come from: a video, folders, key frames, masks, img2img."""

import importlib

import pytest
import torch
from PIL import Image

from tests.webui.generations import at_step
from tests.webui.guided import BLANK, GREY, KINDS, check_every_row, folder_of, frame_picture, gif, told
from tests.webui.host import as_base64, picture


@pytest.mark.parametrize("argument", ["video_source", "video_path"])
def test_a_video_guides_all_units_without_a_picture(cn, tmp_path, argument):
    source = gif(tmp_path / "clip.gif", range(9))
    cn.generate({argument: source}, {"enabled": True}, {"enabled": True, "model": "t2i"})
    check_every_row(cn, 4, ["canny", "t2i"])
    cn.nothing_stays()


@pytest.mark.parametrize("removed", [False, True])
def test_the_frames_of_a_video_stay_where_the_user_wants_them(cn, tmp_path, removed):
    cn.host.opts.data["animatediff_frame_extract_path"] = str(tmp_path / "extracted")
    cn.host.opts.data["animatediff_frame_extract_remove"] = removed
    cn.generate({"video_source": gif(tmp_path / "clip.gif", range(9))}, {"enabled": True})
    check_every_row(cn, 4, ["canny"])
    found = [path.name for path in (tmp_path / "extracted").glob("clip-*/*.png")]
    assert sorted(found) == ([] if removed else [f"{number:06}.png" for number in range(4)])
    cn.nothing_stays()


def test_no_more_of_a_video_is_read_than_needed(cn, tmp_path, monkeypatch):
    read = []

    def frames(_path):
        for number in range(100):
            read.append(number)
            yield torch.full((32, 32, 3), GREY + number, dtype=torch.uint8).numpy()

    monkeypatch.setattr(cn.host.webui("control_pictures"), "read_frames", frames)
    cn.generate({"video_source": gif(tmp_path / "clip.gif", range(2))}, {"enabled": True})
    assert read == [0, 1, 2, 3]


def test_the_number_of_frames_follows_the_source(cn, frames, tmp_path):
    assert len(cn.generate({"video_length": 0, "video_path": frames}, {"enabled": True}).images) == 12
    shorter = folder_of(tmp_path / "shorter", range(5))
    units = [{"enabled": True, "batch_images": shorter}, {"enabled": True, "model": "t2i"}]
    source = gif(tmp_path / "clip.gif", range(9))
    assert len(cn.generate({"video_length": 0, "video_source": source}, *units).images) == 5


@pytest.mark.parametrize("whose", ["Video path", "ControlNet unit 0"])
def test_there_are_no_more_frames_than_pictures(cn, frames, whose):
    """As the old extension's document says; Replacer relies on it for what is left over at the end of a video."""
    animation, unit = {"video_length": 20, "batch_size": 16}, {"enabled": True}
    (animation if whose == "Video path" else unit)["video_path" if whose == "Video path" else "batch_images"] = frames
    processed = cn.generate(animation, unit)
    assert len(processed.images) == 12
    assert "video_length: 12" in processed.infotexts[0]
    assert f"Number of frames is 20, but {whose} has 12 pictures: the video has 12 frames." in processed.comments
    check_every_row(cn, 12, ["canny"])


def test_a_picture_of_its_own_counts_for_all_frames_whatever_else_a_unit_says(cn, frames):
    own = {"enabled": True, "image": as_base64(frame_picture(7)), "batch_images": frames, "input_mode": "batch"}
    cn.generate({"video_path": frames}, own | {"animatediff_batch": True}, {"enabled": True, "model": "t2i"})
    for run in cn.runs:
        rows = cn.frames_of_rows(run, 4)
        assert told(run.added[0], len(rows)) == [7] * len(rows)
        assert told(run.added[1], len(rows)) == rows


def test_in_the_page_the_chosen_tab_counts(cn, frames):
    unit = cn.extension.ControlNetUnit(
        is_ui=True, enabled=True, image=frame_picture(9), batch_images=frames, input_mode="batch"
    )
    before = dict(vars(unit))
    cn.generate({}, unit, api=False)
    check_every_row(cn, 4, ["canny"])
    assert vars(unit) == before, "the page keeps this object"


def test_in_the_page_a_folder_of_another_tab_guides_nothing(cn, frames, tmp_path):
    """ControlNet's page sends one in every mode: what was typed in *Batch* once, or in img2img's own tab Batch."""
    forgotten = folder_of(tmp_path / "forgotten", [11 - number for number in range(12)])
    unit = cn.extension.ControlNetUnit(is_ui=True, enabled=True, batch_images=forgotten)
    cn.generate({"video_path": frames}, unit, api=False)
    check_every_row(cn, 4, ["canny"])
    assert "unit 0 is enabled but has no picture" in cn.sentence({}, unit, api=False)


def test_units_may_have_folders_of_their_own(cn, frames, tmp_path):
    other = folder_of(tmp_path / "other", [11 - number for number in range(12)])
    cn.generate({"video_path": frames}, {"enabled": True, "batch_images": other}, {"enabled": True, "model": "t2i"})
    for run in cn.runs:
        rows = cn.frames_of_rows(run, 4)
        assert told(run.added[0], len(rows)) == [11 - frame for frame in rows]
        assert told(run.added[1], len(rows)) == rows


@pytest.mark.parametrize("model", ["canny", "ip"])
@pytest.mark.parametrize(
    "batch_images",
    [
        lambda folder: folder,
        lambda folder: f'"{folder}"\n',
        lambda folder: {"images": folder},
        lambda folder: [folder],
        lambda folder: [f"{folder}/{number}.png" for number in range(4)],
        lambda folder: {"images": [{"image": as_base64(frame_picture(number))} for number in range(4)]},
    ],
    ids=["text", "quoted", "dictionary", "list", "list of files", "list of pictures"],
)
def test_batch_images(cn, frames, batch_images, model):
    cn.generate({}, {"enabled": True, "model": model, "batch_images": batch_images(frames), **KINDS[model]})
    check_every_row(cn, 4, [model])


@pytest.mark.parametrize("spelled", ["text", "dictionary"])
def test_key_frames_are_guided_and_the_others_are_not(cn, tmp_path, spelled):
    folder = folder_of(tmp_path / "keys", [3, 5])
    batch_images = f"{folder}\nkeyframe: 1, 3" if spelled == "text" else {"images": folder, "keyframe": [1, 3]}
    cn.generate({"video_length": 0, "batch_size": 5}, {"enabled": True, "batch_images": batch_images})
    check_every_row(cn, 5, ["canny"], number_of=lambda frame: {1: 3, 3: 5}.get(frame, BLANK))


def test_between_key_frames_an_ip_adapter_goes_from_one_picture_to_the_next(cn, tmp_path):
    batch = f"{folder_of(tmp_path / 'keys', [8, 2])}\nkeyframe:4,1"
    unit = {"enabled": True, "batch_images": batch, "model": "ip", "module": "ip-adapter"}
    cn.generate({"video_length": 6, "closed_loop": "N"}, unit)
    check_every_row(cn, 6, ["ip"], number_of=lambda frame: [2, 2, 4, 6, 8, 8][frame])


def test_shares_of_keys_close_a_loop(host):
    shares = host.webui("control_hints").shares_of_keys([0, 4], 8, True)
    assert shares[:, 1].tolist() == [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25]
    assert torch.equal(shares.sum(1), torch.ones(8))
    assert host.webui("control_hints").shares_of_keys([5], 8, True).tolist() == [[1.0]] * 8


@pytest.mark.parametrize("own_folder", ["", "{frames}", "{frames}\nmask:{masks}"])
def test_masks_go_to_units_that_mask_and_have_none(cn, frames, tmp_path, own_folder):
    masks, own = folder_of(tmp_path / "masks", [10] * 4), folder_of(tmp_path / "own", [8] * 4)
    seen = {}

    def look(params):
        for param in cn.script.latest_network.control_params:
            seen[param.preprocessor["name"]] = param.hint_cond

    at_step(cn.host, 0, look)
    batch_images = own_folder.format(frames=frames, masks=own)
    units = [{"enabled": True, "module": "inpaint", "batch_images": batch_images}, {"enabled": True, "module": "canny"}]
    processed = cn.generate({"video_path": frames, "mask_path": masks}, *units)
    assert seen["canny"].shape[1] == 3
    white = (GREY + 10 * (8 if "mask:" in own_folder else 10)) / 255
    torch.testing.assert_close(seen["inpaint"][:, 3], torch.full((8, 32, 32), white))
    assert ("Mask path masks nothing" in processed.comments) == ("mask:" in own_folder)


@pytest.mark.parametrize("is_inpainting", [False, True])
def test_masks_that_nobody_takes_are_mentioned_unless_img2img_uses_them(cn, tmp_path, is_inpainting):
    """The Batch tab of img2img lends its masks to ControlNet's units."""
    mask = Image.new("L", (32, 32), 255) if is_inpainting else None
    pictures = [frame_picture(number) for number in range(4)]
    animation = {"mask_path": folder_of(tmp_path / "masks", [10] * 4)}
    processed = cn.generate(animation, {"enabled": True}, init_images=pictures, image_mask=mask)
    assert ("Mask path masks nothing" in processed.comments) != is_inpainting


def test_pictures_of_img2img_guide_where_there_is_no_video(cn):
    pictures = [frame_picture(number) for number in range(4)]
    cn.generate({"video_length": 0}, {"enabled": True}, init_images=pictures)
    check_every_row(cn, 4, ["canny"])
    cn.runs.clear()
    cn.generate({}, {"enabled": True}, init_images=[frame_picture(6)])
    check_every_row(cn, 4, ["canny"], number_of=lambda frame: 6)


def test_replacer_inpaints_a_video_in_fragments(cn, tmp_path):
    """What it sends for the last fragment of a video, which is shorter than the others
    (light-and-ray/sd-webui-replacer, replacer/extensions)."""
    made = importlib.import_module("scripts.animatediff_ui").AnimateDiffProcess()
    made.enable, made.format, made.closed_loop, made.model = True, ["PNG"], "N", "v2.safetensors"
    made.video_length, made.batch_size, made.stride, made.overlap, made.fps = 6, 4, 1, -1, 24
    made.latent_power, made.latent_scale, made.freeinit_enable = 1, 32, False
    made.video_path = folder_of(tmp_path / "frames", range(4))
    made.mask_path = folder_of(tmp_path / "masks", [10] * 4)
    unit = cn.extension.ControlNetUnit(enabled=True, module="inpaint_only", input_mode="batch")
    no_page = [None] * len(cn.host.webui("arguments").page_fields(True))

    p = cn.p(None, unit, args=[made, *no_page], api=False, init_images=[picture()], do_not_save_samples=True)
    processed = cn.host.run(p)
    assert len(processed.images) == len(processed.all_seeds) == 4
    assert {frame.size for frame in processed.images} == {(32, 32)}
    assert len(cn.runs) > 0
    assert unit.image is None, "it is used again for the next fragment"
    assert made.video_length == 6


@pytest.mark.parametrize("only_masked", [True, False])
def test_a_masked_part_that_whole_pictures_guide_is_mentioned(cn, frames, only_masked):
    """ControlNet crops single pictures of units only."""
    masked = {"init_images": [picture()], "image_mask": Image.new("L", (32, 32), 255), "inpaint_full_res": only_masked}
    said = cn.generate({}, {"enabled": True, "batch_images": frames}, **masked).comments
    assert ("ControlNet unit 0 guides it with whole pictures" in said) is only_masked
    single = {"enabled": True, "image": as_base64(frame_picture(1))}
    assert "whole pictures" not in cn.generate({}, single, **masked).comments
