"""The Batch tab of img2img: a folder is one video."""

import importlib
from copy import copy

import pytest
from PIL import Image, ImageChops
from PIL.PngImagePlugin import PngInfo

from tests.webui.generations import same, script
from tests.webui.host import picture

COLOURS = ("red", "orange", "yellow", "green", "blue", "navy")
SIZE = 48
"""Of the pictures; the host paints 32 x 32."""


def frame(i: int) -> Image.Image:
    return picture(COLOURS[i], corner="white", size=SIZE)


@pytest.fixture
def folder(tmp_path):
    """Four pictures, whose natural order is not that of their letters."""
    folder = tmp_path / "in"
    folder.mkdir()
    for i, number in enumerate((1, 2, 10, 11)):
        frame(i).save(folder / f"frame{number}.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def masks(tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    return folder


def mask(*box) -> Image.Image:
    image = Image.new("L", (SIZE, SIZE))
    if box:
        image.paste(255, box)
    return image


def batch(host, source, masks="", animation=None, *, output="", fields=None, **options):
    """What the page's Generate does in this tab."""
    p = host.p(animation if animation is not None else {"video_length": 0}, init_images=[], **(fields or {}))
    host.shared.state.begin()
    try:
        processed = host.module("img2img").process_batch(p, source, output, str(masks), (0,), **options)
    finally:
        p.close()
    return processed, p


def test_the_pictures_of_a_folder_are_the_frames_of_one_video(host, folder):
    processed, _ = batch(host, str(folder))
    expected = host.generate({"video_length": 0}, init_images=[frame(i) for i in range(4)])
    assert len(processed.images) == 4
    assert same(processed.images, expected.images)


def test_uploaded_pictures_are_put_in_order(host, folder):
    processed, _ = batch(host, str(folder))
    uploaded = [type("File", (), {"name": str(path)}) for path in sorted(folder.glob("*.png"), reverse=True)]
    assert same(batch(host, uploaded)[0].images, processed.images)


def test_with_animatediff_off_the_webui_does_what_it_does(host, folder):
    for path in folder.glob("*.txt"):
        path.unlink()
    processed, _ = batch(host, str(folder), animation={"enable": False})
    one = host.generate(init_images=[frame(0)])
    assert len(processed.images) == 4
    assert same(processed.images[:1], one.images)


def test_controlnet_finds_us_by_name_and_lets_us_do_it(host, folder):
    """It replaces the same function, whether before us or after us."""
    img2img, calls = host.module("img2img"), []
    ours = img2img.process_batch

    def of_controlnet(p, *args, **kwargs):
        argument = importlib.import_module("scripts.animatediff_utils").get_animatediff_arg(p)
        if argument and argument.enable:
            calls.append(argument)
            argument.is_i2i_batch = True
            return importlib.import_module("scripts.animatediff_i2ibatch").animatediff_i2i_batch(p, *args, **kwargs)
        return ours(p, *args, **kwargs)

    expected, _ = batch(host, str(folder))
    img2img.process_batch = of_controlnet
    processed, _ = batch(host, str(folder))
    assert len(calls) == 1
    assert same(processed.images, expected.images)


def test_fewer_frames_may_be_asked_for_and_more_are_as_many_as_there_are(host, folder):
    assert len(batch(host, str(folder), animation={"video_length": 3})[0].images) == 3
    processed, p = batch(host, str(folder), animation={"video_length": 9})
    assert len(processed.images) == 4
    assert any("there are 4 pictures" in comment for comment in p.comments)


def test_several_videos_are_made_of_one_folder(host, folder):
    assert len(batch(host, str(folder), fields={"n_iter": 2})[0].images) == 8


def test_the_size_follows_the_first_picture_where_the_page_says_so(host, folder):
    assert batch(host, str(folder), to_scale=True, scale_by=2 / 3)[0].images[0].size == (32, 32)


def test_files_go_to_the_output_directory(host, folder, tmp_path):
    batch(host, str(folder), output=str(tmp_path / "chosen"), animation={"video_length": 0, "format": ["GIF"]})
    assert [path.suffix for path in (tmp_path / "chosen").rglob("*") if path.is_file()] == [".gif"]
    assert host.files() == []


def test_only_as_many_results_as_the_user_wants_are_shown(host, folder):
    host.opts.data["img2img_batch_show_results_limit"] = 2
    processed, _ = batch(host, str(folder))
    assert len(processed.images) == len(processed.infotexts) == 2


def test_settings_are_taken_from_the_first_picture_if_wanted(host, folder):
    first = folder / "frame1.png"
    image = Image.open(first)
    image.load()
    info = PngInfo()
    info.add_text("parameters", "a dog\nSteps: 3, Sampler: Euler, CFG scale: 4.5, Seed: 99, Model hash: second")
    image.save(first, pnginfo=info)
    wanted = ["Seed", "CFG scale", "Model hash"]
    _, p = batch(host, str(folder), use_png_info=True, png_info_props=wanted)
    assert (p.seed, p.cfg_scale, p.steps) == (99, 4.5, 2)
    assert p.override_settings["sd_model_checkpoint"] == "second"


# ------------------------------------------------------------------------------------------------------------ masks


@pytest.mark.parametrize("only_masked", [False, True])
def test_the_same_mask_for_each_frame_is_one_for_all(host, folder, masks, only_masked):
    fields = {"inpaint_full_res": only_masked}
    mask(0, 0, 24, 48).save(masks / "all.png")
    expected, _ = batch(host, str(folder), masks, fields=fields)
    (masks / "all.png").unlink()
    for i in range(4):
        mask(0, 0, 24, 48).save(masks / f"{i}.png")
    processed, _ = batch(host, str(folder), masks, fields=fields)
    assert same(processed.images, expected.images)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("only_masked", [False, True])
def test_each_frame_is_painted_where_its_own_mask_is(host, folder, masks, only_masked, inverted):
    boxes = [(0, 0, 24, 24), (24, 0, 48, 24), (24, 24, 48, 48), (0, 24, 24, 48)]
    for box, number in zip(boxes, (1, 2, 10, 11), strict=True):
        image = mask(*box)
        (ImageChops.invert(image) if inverted else image).save(masks / f"frame{number}.png")
    fields = {"inpaint_full_res": only_masked, "inpainting_mask_invert": inverted}
    processed, _ = batch(host, str(folder), masks, fields=fields)
    size = SIZE if only_masked else 32
    for i, (image, box) in enumerate(zip(processed.images, boxes, strict=True)):
        assert image.size == (size, size)
        changed = ImageChops.difference(image.convert("RGB"), frame(i).resize((size, size))).getbbox()
        assert changed is not None
        free = [edge * size // SIZE for edge in box]
        assert min(changed[i] - free[i] for i in (0, 1)) >= -1  # a mask that is made smaller has soft edges
        assert max(changed[i] - free[i] for i in (2, 3)) <= 1


@pytest.mark.parametrize("only_masked", [False, True])
def test_a_frame_with_a_blank_mask_stays_the_picture(host, folder, masks, only_masked):
    for i in range(4):
        (mask() if i == 2 else mask(0, 0, 24, 24)).save(masks / f"{i}.png")
    processed, p = batch(host, str(folder), masks, fields={"inpaint_full_res": only_masked})
    size = SIZE if only_masked else 32
    assert {image.size for image in processed.images} == {(size, size)}
    assert same([processed.images[2].convert("RGB")], [frame(2).resize((size, size))])
    assert p.inpaint_full_res == only_masked


@pytest.mark.parametrize("boxes", [[(0, 0, 24, 24)] * 4, [(0, 0, 24, 24)] * 3 + [(24, 0, 48, 24)]])
def test_soft_inpainting_takes_masks_of_one_place_alone(host, folder, masks, boxes):
    """It makes its own masks for all frames, with the place of the first."""
    for i, box in enumerate(boxes):
        mask(*box).save(masks / f"{i}.png")

    def soften(p, *_args):
        p.extra_generation_params["Soft inpainting enabled"] = True

    def made(only_masked):
        fields = {"inpaint_full_res": only_masked, "scripts": [script(host, process=soften)]}
        return len(batch(host, str(folder), masks, fields=fields)[0].images)

    assert made(False) == 4
    if len(set(boxes)) == 1:
        assert made(True) == 4
    else:
        with pytest.raises(host.error, match="Whole picture"):
            made(True)


def test_copies_of_a_request_have_its_masks(host, folder, masks):
    """As the X/Y/Z plot makes them."""
    for i in range(4):
        mask(0, 0, 24, 24).save(masks / f"{i}.png")
    processing, found = host.module("processing"), []
    original = processing.process_images
    try:
        processing.process_images = lambda p: found.extend([original(copy(p)), original(p)]) or found[-1]
        batch(host, str(folder), masks)
    finally:
        processing.process_images = original
    assert same(found[0].images, found[1].images)


@pytest.mark.usefixtures("unchanged")
def test_nothing_of_the_masks_is_left_on_a_request(host, folder, masks):
    for i in range(4):
        mask(0, 0, 24, 24).save(masks / f"{i}.png")
    _, p = batch(host, str(folder), masks)
    assert "init" not in vars(p)
    assert len(p.init_images) == 4


# ----------------------------------------------------------------------------------------------------------- errors


def empty(folder, masks):
    for path in folder.iterdir():
        path.unlink()


def one_picture(folder, masks):
    for path in folder.glob("frame1?.png"):
        path.unlink()
    (folder / "frame2.png").unlink()


def broken_picture(folder, masks):
    (folder / "frame2.png").write_text("<html>")


def unequal_masks(folder, masks):
    for i in range(3):
        mask(0, 0, 9, 9).save(masks / f"{i}.png")


def no_masks(folder, masks):
    (masks / "readme.txt").write_text("later")


@pytest.mark.parametrize(
    ("prepare", "with_masks", "words"),
    [
        (empty, False, "has no pictures"),
        (one_picture, False, "Only frame1.png was found"),
        (broken_picture, False, "frame2.png cannot be read"),
        (unequal_masks, True, "3 masks .* 4 pictures"),
        (no_masks, True, "mask directory .* has no pictures"),
    ],
)
def test_a_folder_that_cannot_be_a_video_gets_a_sentence(host, folder, masks, prepare, with_masks, words):
    prepare(folder, masks)
    with pytest.raises(host.error, match=words):
        batch(host, str(folder), masks if with_masks else "")


@pytest.mark.parametrize(
    ("source", "words"), [("", "is empty"), ("nowhere", "'nowhere' is not there"), ([], "uploaded")]
)
def test_so_does_no_folder(host, source, words):
    with pytest.raises(host.error, match=words):
        batch(host, source)
