"""What other extensions find of AnimateDiff, under the old extension's names."""

import importlib
import runpy
import sys
from copy import copy, deepcopy
from pathlib import Path
from types import ModuleType

import gradio as gr
import pytest
import torch

from animatediff_ext.params import from_api
from animatediff_ext.travel.blend import slerp
from tests.webui.generations import same
from tests.webui.host import request
from tests.webui.test_arguments import OLD_API

NAMES = {
    "scripts.animatediff_ui": ["AnimateDiffProcess", "supported_save_formats"],
    "scripts.animatediff_utils": ["get_animatediff_arg"],
    "scripts.animatediff_i2ibatch": ["animatediff_i2i_batch"],
    "scripts.animatediff_mm": ["MotionWrapper", "MotionModuleType"],
}
DOOR = Path(__file__).parents[2] / "scripts" / "animatediff.py"


@pytest.fixture
def argument_of(host):
    return importlib.import_module("scripts.animatediff_utils").get_animatediff_arg


@pytest.fixture
def old_extension(host):
    extensions = host.module("extensions")
    extensions.extensions.append(extensions.Extension("/webui/extensions/sd-webui-animatediff"))
    host.ours.register()
    yield extensions.extensions[-1]
    extensions.extensions.clear()


def other(host, name="before_process", **hooks):
    """A script of another extension, behind ours."""
    return type("Other", (host.module("scripts").Script,), {name: lambda self, p, *args, **kw: hooks["does"](p)})()


# ------------------------------------------------------------------------------------------------------- names


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("name", NAMES)
def test_the_old_names_can_be_imported(name):
    module = importlib.import_module(name)
    assert all(hasattr(module, attribute) for attribute in NAMES[name])


def test_they_are_gone_when_scripts_are_unloaded_and_another_ones_stay(host):
    foreign = sys.modules["scripts.animatediff_mm"] = ModuleType("scripts.animatediff_mm")
    host.callbacks.call("script_unloaded")
    assert {name for name in NAMES if name in sys.modules} == {"scripts.animatediff_mm"}
    assert sys.modules["scripts.animatediff_mm"] is foreign


def test_what_a_disabled_extension_left_there_is_replaced(host):
    sys.modules["scripts.animatediff_utils"] = ModuleType("scripts.animatediff_utils")
    host.ours.register()
    assert hasattr(sys.modules["scripts.animatediff_utils"], "get_animatediff_arg")


def test_sparse_controls_motion_goes_by_its_old_name(host):
    mm = importlib.import_module("scripts.animatediff_mm")
    assert not list(mm.MotionWrapper("", "", mm.MotionModuleType.SparseCtrl).down_blocks)
    with pytest.raises(ValueError, match="by AnimateDiff itself"):
        mm.MotionWrapper("", "", mm.MotionModuleType.AnimateDiffV2)


# -------------------------------------------------------------------------------- with the old extension beside us


def test_beside_the_old_extension_we_step_aside_and_say_so(host, old_extension):
    assert not any(name in sys.modules for name in NAMES)
    assert not any(
        getattr(callback, "__module__", "").startswith("animatediff_ext")
        for callbacks in host.callbacks.callback_map.values()
        for callback in callbacks
    )
    assert (
        host.module("patches").original("animatediff_ext.webui.batch", host.module("img2img"), "process_batch") is None
    )
    script = host.ours.AnimateDiffScript()
    assert script.title().lower() != "animatediff"
    with gr.Blocks() as blocks:
        assert script.ui(False) is None
    words = " ".join(str(block.value) for block in blocks.blocks.values() if isinstance(block, gr.Markdown))
    assert "sd-webui-animatediff is installed too" in words
    assert not any(str(getattr(block, "elem_id", "")).startswith("txt2img-ad-") for block in blocks.blocks.values())


@pytest.mark.usefixtures("old_extension")
def test_beside_the_old_extension_its_animation_is_not_ours(host):
    """The WebUI gives a script without fields the arguments of all scripts."""
    p = host.p({"video_length": 3})
    p.extra_generation_params["AnimateDiff"] = "model: v2.safetensors"  # its script may be before ours
    before = {**vars(p), "extra_generation_params": dict(p.extra_generation_params)}
    host.ours.AnimateDiffScript().before_process(p, *p.script_args)
    assert vars(p) == before


def test_with_it_disabled_we_are_back(host, old_extension):
    old_extension.enabled = False
    host.ours.register()
    assert host.ours.AnimateDiffScript().title() == "AnimateDiff"
    assert all(name in sys.modules for name in NAMES)


def test_it_is_known_by_its_content_too(host, tmp_path):
    """The folder of a ZIP is called sd-webui-animatediff-master."""
    extensions, folder = host.module("extensions"), tmp_path / "sd-webui-animatediff-master"
    (folder / "scripts").mkdir(parents=True)
    extensions.extensions.append(extensions.Extension(str(folder)))
    assert host.ours.AnimateDiffScript().title() == "AnimateDiff"
    (folder / "scripts" / "animatediff_infv2v.py").touch()
    host.ours.register()
    assert not any(name in sys.modules for name in NAMES)
    assert host.ours.AnimateDiffScript().title() == "AnimateDiff (inactive: sd-webui-animatediff-master is enabled)"
    extensions.extensions.clear()


@pytest.mark.usefixtures("old_extension")
def test_the_door_can_be_run_beside_it():
    assert "AnimateDiffScript" in runpy.run_path(str(DOOR))


# ---------------------------------------------------------------------------------------------- the argument object


def test_the_object_has_the_old_attributes_with_the_old_defaults(host):
    made = importlib.import_module("scripts.animatediff_ui").AnimateDiffProcess()
    assert {name: getattr(made, name) for name in OLD_API} == {**OLD_API, "format": ["GIF", "PNG"]}
    assert (made.is_i2i_batch, made.video_default, made.prompt_scheduler) == (False, False, None)


def test_it_is_made_by_position_and_by_name(host):
    kind = importlib.import_module("scripts.animatediff_ui").AnimateDiffProcess
    made = kind("v2.safetensors", True, 3, fps=5)
    assert (made.model, made.enable, made.video_length, made.fps) == ("v2.safetensors", True, 3, 5)


@pytest.mark.parametrize("api", [True, False])
def test_what_was_asked_for_can_be_read(host, argument_of, api):
    p = host.p({"video_length": 0, "fps": 5, "closed_loop": "N", "format": ["GIF"]}, api=api)
    found = argument_of(p)
    assert (found.enable, found.video_length, found.fps, found.closed_loop) == (True, 0, 5, "N")
    assert found.format == ["GIF"]
    assert argument_of(p) is found


def test_a_still_and_other_scripts_have_none_or_one_that_is_off(host, argument_of):
    assert argument_of(host.p(None)).enable is False
    p = host.p({})
    p.scripts = host.module("scripts").ScriptRunner([])
    assert argument_of(p) is None
    p.scripts = None
    assert argument_of(p) is None
    assert argument_of(host.p({"fps": "fast"})) is None  # which is refused


@pytest.mark.parametrize("api", [True, False])
def test_what_is_assigned_before_counts(host, argument_of, api):
    p = host.p({"video_length": 4}, api=api)
    argument_of(p).video_length = 3
    argument_of(p).request_id = "mine"
    text = host.run(p).infotexts[0]
    assert "video_length: 3" in text
    assert "request_id: mine" in text


def test_it_outvotes_dictionaries_that_were_merged_into_it(host, argument_of):
    p = host.p(args=[request(video_length=4), {"video_length": 5}])
    assert argument_of(p).video_length == 5
    argument_of(p).video_length = 3
    assert "video_length: 3" in host.run(p).infotexts[0]


def test_one_that_others_made_is_taken_and_stays_as_it_is(host, argument_of):
    """As Replacer does. Nothing is resolved in it: it may be used again."""
    kind = importlib.import_module("scripts.animatediff_ui").AnimateDiffProcess
    made = kind(**request(video_length=0, batch_size=5, overlap=-1))
    p = host.p(args=[made])
    assert "video_length: 5" in host.run(p).infotexts[0]
    assert (made.video_length, made.overlap) == (0, -1)


def test_while_it_runs_the_object_is_resolved(host, argument_of):
    seen = []
    script = other(host, "process", does=lambda p: seen.append(copy(vars(argument_of(p)))))
    host.generate({"video_length": 0, "batch_size": 5}, scripts=[script])
    assert (seen[0]["video_length"], seen[0]["batch_size"], seen[0]["overlap"]) == (5, 5, 1)


def test_what_others_assign_after_us_counts_too(host, argument_of):
    def change(p):
        argument_of(p).video_length, argument_of(p).closed_loop = 6, "A"

    changed = host.generate({"video_length": 4}, scripts=[other(host, does=change)])
    assert same(changed.images, host.generate({"video_length": 6, "closed_loop": "A"}).images)
    assert "video_length: 6" in changed.infotexts[0]


def test_the_webuis_batch_size_is_the_number_of_frames(host):
    processed = host.generate({"video_length": 6}, scripts=[other(host, does=lambda p: setattr(p, "batch_size", 3))])
    assert same(processed.images, host.generate({"video_length": 3}).images)


def test_others_may_switch_it_off(host, argument_of):
    processed = host.generate({}, scripts=[other(host, does=lambda p: setattr(argument_of(p), "enable", False))])
    assert same(processed.images, host.generate().images)


def test_an_impossible_change_is_said(host, argument_of):
    with pytest.raises(host.error, match="Number of frames"):
        host.generate({}, scripts=[other(host, does=lambda p: setattr(argument_of(p), "video_length", -1))])


@pytest.mark.usefixtures("unchanged")
def test_after_changes_everything_is_as_it_was(host, argument_of):
    p = host.p({}, scripts=[other(host, does=lambda p: setattr(argument_of(p), "video_length", 3))])
    host.run(p)
    assert p.batch_size == 1
    assert "setup_prompts" not in vars(p)


# ------------------------------------------------------------------------------------------------- prompt schedule


def test_pictures_travel_with_a_copy_of_the_prompts_schedule(host, argument_of):
    """As ControlNet lets an IP-Adapter's embeddings travel."""
    found = []
    script = other(host, "process", does=lambda p: found.append(argument_of(p).prompt_scheduler))
    host.generate({}, prompt="0: a\n2: b", scripts=[script])
    assert found[0].prompt_map == {0: "a", 2: "b"}
    schedule = deepcopy(found[0])
    schedule.prompt_map = {0: "", 4: ""}
    known = torch.randn(8, 5, 6, generator=torch.Generator().manual_seed(0))
    moved = schedule.multi_cond(known, False)
    torch.testing.assert_close(moved[1], slerp(known[0], known[4], 0.25))
    torch.testing.assert_close(moved[7], known[4])
    torch.testing.assert_close(schedule.multi_cond(known, True)[6], slerp(known[4], known[0], 0.5))
    both = schedule.multi_cond({"crossattn": known, "vector": known[:, 0]}, False)
    torch.testing.assert_close(both["crossattn"], moved)


def test_where_nothing_travels_it_changes_nothing(host):
    schedule = host.webui("prompt_schedule").PromptSchedule.of("a cat", from_api({})[0].resolved())
    known = torch.zeros(4, 2)
    assert schedule.prompt_map is None
    assert schedule.multi_cond(known) is known
