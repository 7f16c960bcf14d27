"""Video to video: every row of the UNet has the hint of its frame, and ControlNet is as it was afterwards."""

import importlib
import itertools
import sys
from types import ModuleType

import pytest
import torch
from PIL import Image

from animatediff_ext.animate import windows_of
from animatediff_ext.formats import FormatError
from animatediff_ext.inject import memory
from animatediff_ext.motion.manner import Manner
from animatediff_ext.params import from_api
from tests.models.motion import motion_config, random_motion
from tests.webui.host import as_base64, picture
from tests.webui.test_generation import HIRES, at_step, same

KINDS = {"canny": {}, "t2i": {}, "lllite": {}, "reference": {}, "ip": {"module": "ip-adapter"}}
"""Every kind of model that keeps its hints in another place."""
GREY = 40
BLANK = -1


def frame_picture(number: int) -> Image.Image:
    return Image.new("RGB", (32, 32), (GREY + 10 * number,) * 3)


def folder_of(path, numbers) -> str:
    path.mkdir(parents=True)
    for place, number in enumerate(numbers):
        frame_picture(number).save(path / f"{place}.png")  # 2 is before 10
    (path / "Thumbs.db").write_bytes(b"no picture")
    return str(path)


@pytest.fixture
def frames(tmp_path):
    """A folder with twelve pictures, each of which says its number."""
    return folder_of(tmp_path / "frames", range(12))


class WithControlNet:
    """Requests to a WebUI with both extensions, and what ControlNet added in each run of the UNet."""

    def __init__(self, host, extension, script):
        self.host, self.extension, self.script = host, extension, script
        self.tables: list[torch.Tensor] = []
        host.callbacks.on_cfg_denoiser(lambda params: self.tables.append(params.x))

    def p(self, animation, *units, **fields):
        p = self.host.p(animation, scripts=[self.script], **fields)
        self.script.args_from = len(p.script_args)
        p.script_args = (*p.script_args, *units, *[self.extension.ControlNetUnit()] * (3 - len(units)))
        self.script.args_to = len(p.script_args)
        return p

    def generate(self, animation, *units, **fields):
        return self.host.run(self.p(animation, *units, **fields))

    @property
    def runs(self):
        return self.script.runs

    def sentence(self, animation, *units, **fields) -> str:
        with pytest.raises(self.host.error) as problem:
            self.generate(animation, *units, **fields)
        assert problem.value.status_code == 422
        assert "\n" not in problem.value.detail
        assert problem.value.detail[-1] == "."
        self.nothing_stays()
        return problem.value.detail

    def nothing_stays(self):
        assert self.script.latest_network is None
        assert "forward" not in vars(self.host.unet)
        assert list(self.host.temporary.glob("animatediff-controlnet-*")) == []

    def frames_of_rows(self, run, num_frames: int) -> list[int]:
        """By the latents: those of the negative prompt came to the denoiser in the order of the frames."""
        known = torch.cat(
            [table[-num_frames:].flatten(1) for table in self.tables if table.shape[2:] == run.x.shape[2:]]
        )
        likeness = torch.cosine_similarity(run.x.flatten(1)[:, None], known[None], dim=2)
        assert likeness.max(1).values.min() > 0.9999
        return (likeness.argmax(1) % num_frames).tolist()


def told(added: torch.Tensor, num_rows: int) -> list[int]:
    """The numbers of the pictures that hints were made of."""
    values = added.mean(dim=(1, 2, 3))
    numbers = [round((float(value) * 255 - GREY) / 10) if value > 0 else BLANK for value in values]
    return numbers if len(numbers) > 1 else numbers * num_rows


@pytest.fixture
def cn(host, monkeypatch):
    extension = importlib.import_module("tests.webui.host.controlnet")
    cn = WithControlNet(host, extension, extension.install(host, monkeypatch))
    yield cn
    if cn.script.latest_network is None:
        cn.nothing_stays()


def check_every_row(cn, num_frames: int, kinds, number_of=lambda frame: frame):
    assert cn.runs
    for run in cn.runs:
        frames = cn.frames_of_rows(run, num_frames)
        for kind, added in zip(kinds, run.added, strict=True):
            numbers = told(added, len(frames))
            positive = run.is_positive if kind == "ip" else [True] * len(frames)  # an IP-Adapter speaks to these only
            expected = [number_of(frame) if yes else BLANK for frame, yes in zip(frames, positive, strict=True)]
            assert numbers == expected, kind


SITUATIONS = {
    "whole clip": ({}, {}),
    "windows": ({"video_length": 7, "batch_size": 4, "long_clips": "windows"}, {}),
    "windows that loop": ({"video_length": 6, "batch_size": 3, "long_clips": "windows", "closed_loop": "A"}, {}),
    "views": ({"video_length": 7, "batch_size": 4, "long_clips": "views"}, {}),
    "AND": ({"video_length": 5, "batch_size": 3, "long_clips": "windows"}, {"prompt": "a cat AND a dog :0.5"}),
    "long prompt": ({}, {"prompt": "one two three four five six seven eight nine ten"}),
    "hires fix": ({"video_length": 5, "batch_size": 3, "long_clips": "windows"}, HIRES),
    "img2img": ({}, {"init_images": [picture()]}),
    "two videos": ({"video_length": 5, "batch_size": 3, "long_clips": "windows"}, {"n_iter": 2}),
    "FreeInit": ({"freeinit_enable": True, "freeinit_iters": 2}, {}),
    "FreeInit, coarse to fine": ({"freeinit_enable": True, "freeinit_iters": 3, "freeinit_coarse": True}, {"steps": 6}),
    "negative prompt skipped": ({"video_length": 5, "batch_size": 3, "long_clips": "windows"}, {"s_min_uncond": 1e3}),
    "refiner": ({}, {"refiner_checkpoint": "second", "refiner_switch_at": 0.5}),
}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("together", [True, False], ids=["prompts together", "prompts apart"])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_row_has_the_hint_of_its_frame(cn, frames, situation, together):
    animation, request = SITUATIONS[situation]
    num_frames = animation.get("video_length", 4)
    cn.host.opts.data["batch_cond_uncond"] = together
    units = [{"enabled": True, "model": kind, **more} for kind, more in KINDS.items()]
    result = cn.generate({"video_path": frames, **animation}, *units, **request)
    cn.host.opts.data["batch_cond_uncond"] = True
    assert len(result.images) == num_frames * request.get("n_iter", 1)
    check_every_row(cn, num_frames, KINDS)
    kinds = {(run.is_hires, is_positive) for run in cn.runs for is_positive in run.is_positive}
    passes = [False, True] if "enable_hr" in request else [False]
    assert kinds == {*itertools.product(passes, [True, False])}


def test_hints_change_the_frames(cn, frames):
    unit = {"enabled": True}
    assert not same(cn.generate({"video_path": frames}, unit).images, cn.generate({}).images)


def test_controlnets_count_where_memory_is_estimated(cn, frames, monkeypatch):
    asked = []
    monkeypatch.setattr(memory, "fits", lambda *_models, guests, **_call: asked.append(len(guests)) or True)
    animation = {"video_path": frames, "video_length": 7, "batch_size": 4}
    cn.generate(animation, {"enabled": True}, {"enabled": True, "model": "t2i"})
    cn.generate({"video_length": 7, "batch_size": 4})
    assert asked == [2, 0]


def test_latents_of_hints_are_made_once_and_not_for_each_window(cn, frames):
    animation = {"video_path": frames, "video_length": 8, "batch_size": 4, "long_clips": "windows"}
    cn.generate(animation, {"enabled": True, "model": "reference"}, steps=4)
    assert len(cn.runs) > 8
    assert cn.extension.UnetHook.num_encoded == 8 + 8  # the first run's own, then one of each frame


# ----- where pictures come from


def gif(path, numbers):
    first, *rest = (frame_picture(number).convert("L") for number in numbers)
    first.save(path, save_all=True, append_images=rest, duration=100)
    return str(path)


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


# ----- what goes wrong


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("animation", "unit", "words"),
    [
        ({"video_path": "{empty}"}, {}, "Video path: The folder {empty} has no pictures"),
        ({"video_path": "{missing}"}, {}, "Video path: {missing} cannot be read"),
        ({"video_source": "{text}"}, {}, "Video source: {text} is no video"),
        ({"video_source": 5}, {}, "Video source is 5"),
        ({"video_path": "{frames}", "mask_path": "{missing}"}, {}, "Mask path: {missing} cannot be read"),
        (
            {},
            {"batch_images": "{empty}", "input_mode": "batch"},
            "ControlNet unit 0: The folder {empty} has no pictures",
        ),
        ({}, {"batch_images": "{missing}", "input_mode": "batch"}, "ControlNet unit 0: {missing} cannot be read"),
        ({}, {"batch_images": "{two}\nkeyframe:0,9"}, "has a key frame 9, but the clip has the frames 0 to 3"),
        ({}, {"batch_images": "{two}\nkeyframe:0,1,2"}, "has 2 pictures for 3 key frames"),
        ({}, {"batch_images": "{two}\nkeyframe:0,x"}, "give whole numbers"),
        ({}, {"batch_images": "{two}\nkeyframe:1,1"}, "give each frame once"),
        ({}, {"batch_images": "{two}\nmsk:/x"}, "begin with mask: or keyframe:"),
        ({}, {"batch_images": "{frames}\nmask:{two}"}, "has 2 masks for 4 pictures"),
        ({}, {"batch_images": {"folder": "x"}}, "'folder'"),
        ({}, {"batch_images": 5}, "give the path of a folder"),
        ({}, {"batch_images": ["no", "picture"]}, "picture 0: no is no picture"),
        ({}, {}, "ControlNet unit 0 is enabled but has no picture"),
        ({}, {"weight": 5}, "does not take the arguments of unit 0"),
        ({}, {"batch_images": "{frames}", "model": "nope"}, "(with the models 'nope'): model not found: None"),
        ({}, {"image": "no picture"}, "ControlNet unit 0: no picture is no picture: give the path of one"),
        ({}, {"image": {"image": "no picture"}}, "ControlNet unit 0: no picture is no picture"),
        (
            {"video_path": "{frames}"},
            {"model": "t2i", "control_mode": "ControlNet is more important"},
            "T2I-Adapter takes one picture only",
        ),
        ({"video_path": "{frames}", "model": "other layout.safetensors"}, {}, "was made for"),
    ],
)
def test_one_sentence_says_what_is_wrong(cn, frames, tmp_path, animation, unit, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    two = folder_of(tmp_path / "two", range(2))
    places = {"frames": frames, "two": two, "text": tmp_path / "text.mp4"}
    places |= {"empty": tmp_path / "empty", "missing": tmp_path / "missing"}

    def filled(value):
        for name, place in places.items():
            value = value.replace(f"{{{name}}}", str(place)) if isinstance(value, str) else value
        return value

    animation, unit = ({k: filled(v) for k, v in given.items()} for given in (animation, unit))
    assert filled(words) in cn.sentence(animation, {"enabled": True, **unit})


def test_a_failure_that_has_no_words_leaves_the_console(cn, frames):
    sentence = cn.sentence({"video_path": frames}, {"enabled": True, "module": "broken"})
    assert "could not set up its units (with the models 'canny'): the console of the WebUI says why." in sentence
    cn.host.errors.reports.clear()


@pytest.mark.parametrize("argument", ["video_source", "video_path"])
def test_without_controlnet_a_video_is_mentioned(host, argument):
    """The old extension's document has one in its example for the API."""
    assert "install the extension sd-webui-controlnet" in host.generate({argument: "clip.mp4"}).comments


def test_a_video_that_nobody_takes_is_mentioned(cn, frames):
    assert "guides nothing" in cn.generate({"video_path": frames}).comments


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("when", ["at an error", "at an interrupt"])
def test_nothing_stays_behind(cn, tmp_path, monkeypatch, when):
    request = {"video_source": gif(tmp_path / "clip.gif", range(9))}
    if when == "at an interrupt":
        at_step(cn.host, 1, lambda _params: setattr(cn.host.shared.state, "interrupted", True))
        assert len(cn.generate(request, {"enabled": True}).images) == 4
    else:
        with monkeypatch.context() as patch:
            patch.setattr(cn.host.sd_models.LatentDiffusion, "decode", lambda *_: 1 / 0)  # behind the sampling
            with pytest.raises(ZeroDivisionError):
                cn.generate(request, {"enabled": True})
    cn.nothing_stays()


def test_the_same_request_object_twice(cn, frames):
    """As *Loopback* does: ControlNet keeps the first p.sample that it meets."""
    p = cn.p({"video_path": frames}, {"enabled": True})
    args = p.script_args
    first = cn.host.processing.process_images(p).images
    assert p.script_args == args
    assert same(first, cn.host.processing.process_images(p).images)
    check_every_row(cn, 4, ["canny"])


# ----- SparseCtrl


@pytest.fixture
def sparse(cn, monkeypatch):
    """Random weights of a SparseCtrl's motion, and the names under which ControlNet asks for its modules."""
    ours = cn.host.webui("sparsectrl")
    names = ModuleType("scripts.animatediff_mm")
    names.MotionWrapper, names.MotionModuleType = ours.MotionWrapper, ours.MotionModuleType
    monkeypatch.setitem(sys.modules, "scripts", ModuleType("scripts"))
    monkeypatch.setitem(sys.modules, "scripts.animatediff_mm", names)
    config = motion_config("v3", widths=(32, 32, 32, 32))
    config = type(config)(**{**vars(config), "up_channels": (), "num_attentions": 1})
    motion = random_motion(config)
    cn.extension.PlugableSparseCtrlModel.weights = motion.state_dict() | {"input_hint_block.0.weight": torch.zeros(1)}
    return motion


@pytest.mark.parametrize("long_clips", ["windows", "views"])
def test_sparsectrl_moves_over_the_frames_of_each_run(cn, sparse, frames, long_clips):
    animation = {"video_length": 6, "batch_size": 4, "long_clips": long_clips, "context_schedule": "static"}
    unit = {"enabled": True, "model": "sparse", "batch_images": f"{frames}\nkeyframe:{','.join(map(str, range(12)))}"}
    assert "key frame 11" in cn.sentence(animation, unit)
    context = from_api(animation)[0].resolved().context
    noise = torch.rand(4, 4, 3, generator=torch.Generator().manual_seed(0)).mul(255).byte()  # of the latent's size
    single = Image.fromarray(noise.numpy()).resize((32, 32), Image.NEAREST)
    first = noise.permute(2, 0, 1)[:1] / 255
    cn.generate(animation, {"enabled": True, "model": "sparse", "image": as_base64(single)})
    for run in cn.runs:
        rows = cn.frames_of_rows(run, 6)
        h = torch.stack([first if frame == 0 else torch.zeros_like(first) for frame in rows]).repeat(1, 32, 1, 1)
        alone = h
        in_views = Manner(num_frames=6, views=windows_of(context, 6))
        manner = in_views if long_clips == "views" else Manner(num_frames=4)
        for block in sparse.down_blocks:
            for module in block.motion_modules:
                h, alone = module(h, manner), module(alone, 1)
        torch.testing.assert_close(
            run.added[0], h[:, :4], atol=2e-3, rtol=1e-3
        )  # norms of what is blank blow up rounding
        assert (run.added[0] - alone[:, :4]).abs().max() > 0.05


def test_a_folder_has_a_picture_for_every_frame_of_a_sparsectrl(cn, sparse, frames):
    seen = []
    at_step(cn.host, 1, lambda _params: seen.append(cn.script.latest_network.control_params[0].hint_cond))
    cn.generate({}, {"enabled": True, "model": "sparse", "batch_images": frames})
    (hint,) = seen
    assert told(hint[:, :3], len(hint)) == [0, 1, 2, 3] * 2
    torch.testing.assert_close(hint[:, 3], torch.ones_like(hint[:, 3]))  # which frames have one


def test_a_single_picture_guides_the_first_frame_of_a_sparsectrl_and_alone_nothing_moves(cn, sparse):
    module = cn.extension.PlugableSparseCtrlModel().control_model.input_blocks[0]
    x = torch.randn(3, 32, 4, 4)
    torch.testing.assert_close(module(x), torch.cat([module(row[None]) for row in x]))
    assert len(cn.extension.PlugableSparseCtrlModel().control_model.input_blocks) == 8


def test_motion_of_a_sparsectrl_is_complete_or_refused(cn, sparse):
    ours = cn.host.webui("sparsectrl")
    state = dict(sparse.state_dict())
    state.pop(next(name for name in state if name.endswith("proj_in.weight")))
    with pytest.raises(FormatError, match="missing"):
        ours.MotionWrapper("", "", ours.MotionModuleType.SparseCtrl).load_state_dict(state)
    with pytest.raises(ValueError, match="AnimateDiff itself"):
        ours.MotionWrapper("", "", ours.MotionModuleType.AnimateDiffV2)


def test_a_context_beyond_a_sparsectrls_positions_is_refused(cn, sparse):
    unit = {"enabled": True, "model": "sparse", "image": as_base64(frame_picture(1))}
    for name in list(cn.extension.PlugableSparseCtrlModel.weights):
        if name.endswith(".pe"):
            cn.extension.PlugableSparseCtrlModel.weights[name] = cn.extension.PlugableSparseCtrlModel.weights[name][
                :, :3
            ]
    assert "SparseCtrl takes at most 3 frames together" in cn.sentence({}, unit)
