"""Video to video: every row of the UNet has the hint of its frame, and ControlNet is as it was afterwards."""

import itertools

import pytest

from animatediff_ext.inject import memory
from tests.webui.generations import HIRES, at_step, same
from tests.webui.guided import KINDS, check_every_row, folder_of, gif
from tests.webui.host import picture

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
