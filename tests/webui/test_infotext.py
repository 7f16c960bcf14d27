"""What a picture says of its animation, and what the page takes from it."""

import json
import re

import gradio as gr
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from animatediff_ext import __version__
from animatediff_ext.infotext import entries
from animatediff_ext.params import SETTINGS, from_api, to_api
from tests.webui.host import picture, request

V1 = (
    "enable: True, model: mm_sd_v15_v2.ckpt, video_length: 16, fps: 8, loop_number: 0, closed_loop: R+P, "
    "batch_size: 16, stride: 1, overlap: 4, interp: Off, interp_x: 10, mm_hash: 69ed0f5f"
)
V2 = (
    "model: mm_sd15_v3.safetensors, video_length: 24, fps: 12, loop_number: 1, closed_loop: N, batch_size: 12, "
    "stride: 2, overlap: 3, interp: FILM, interp_x: 4, freeinit_enable: False, request_id: X, mm_hash: 12ab34cd, "
    "latent_power: 2, latent_scale: 16, latent_power_last: 1, latent_scale_last: 32, version: v2.0.1-a"
)


def names_in(entry: str) -> list[str]:
    return [pair.split(": ")[0] for pair in entry.split(", ")]


def pasted(host, written: dict) -> dict:
    """Fields of the page, by API name, that the host fills in."""
    results = dict(written)
    host.callbacks.call("infotext_pasted", "the whole text", results)
    assert not {"AnimateDiff", "AnimateDiff settings"} & set(results)
    return {name.removeprefix("AnimateDiff "): value for name, value in results.items() if name not in written}


def infotext_with(host, written: dict) -> str:
    """A whole infotext with these entries, as the host writes it."""
    quoted = host.module("processing")._quoted
    entries = {"Steps": 2, "Sampler": "Euler", "Seed": 7, **written}
    return "a cat, AnimateDiff: nonsense\n" + ", ".join(f"{name}: {quoted(value)}" for name, value in entries.items())


def read_by_host(host, text: str) -> dict:
    return host.module("infotext_utils").parse_generation_parameters(text)


COMMON = "model video_length fps loop_number closed_loop batch_size stride overlap interp interp_x freeinit_enable"
OF_IMG2IMG = "latent_power latent_scale latent_power_last latent_scale_last"


@pytest.mark.parametrize("request_id", ["", "job-1"])
@pytest.mark.parametrize("is_img2img", [False, True])
def test_the_entry_has_the_old_keys_in_the_old_order(host, is_img2img, request_id):
    fields = {"init_images": [picture()]} if is_img2img else {}
    text = host.generate({"request_id": request_id}, **fields).infotexts[0]
    entry = json.loads(re.search(r'AnimateDiff: (".*?")', text)[1])
    assert names_in(entry) == [
        *COMMON.split(),
        *(["request_id"] if request_id else []),
        "mm_hash",
        *(OF_IMG2IMG.split() if is_img2img else []),
        "version",
    ]
    assert entry.endswith(f"version: {__version__}")


def test_the_answer_lists_the_entry_among_the_parameters(host):
    """``info`` of the API's answer; the grid of an XYZ plot is described by the same."""
    processed = host.generate({"format": ["GIF"]})
    assert "video_length: 4" in processed.extra_generation_params["AnimateDiff"]
    assert processed.extra_generation_params["AnimateDiff"] in processed.infotexts[0]


def test_a_still_says_nothing_of_an_animation_before_it(host):
    p = host.p({})
    host.run(p)
    p.script_args = (None, *p.script_args[1:])
    assert "AnimateDiff" not in host.run(p).infotexts[0]


def test_values_are_the_resolved_ones(host):
    text = host.generate({"video_length": 0, "batch_size": 5, "latent_power": 1.0}).infotexts[0]
    assert "video_length: 5, fps: 8, loop_number: 0, closed_loop: R-P, batch_size: 5, stride: 1, overlap: 1" in text


def test_what_the_old_extension_does_not_know_stands_apart_and_only_if_it_was_changed(host):
    assert "AnimateDiff settings" not in host.generate({}).infotexts[0]
    text = host.generate({"context_schedule": "static", "freeinit_enable": True, "freeinit_iters": 1}).infotexts[0]
    assert json.loads(re.search(r'AnimateDiff settings: (".*?")', text)[1]).split(", ") == [
        "freeinit_iters: 1",
        "context_schedule: static",
    ]


@pytest.mark.parametrize("entry", [V1, V2], ids=["v1.9 to v1.13", "v2"])
def test_infotexts_of_the_old_extension_fill_the_page_and_enable(host, entry):
    found = pasted(host, {"AnimateDiff": entry})
    assert found.pop("enable") is True
    expected = {name: value for name, value in (pair.split(": ") for pair in entry.split(", ")) if name in SETTINGS}
    expected.pop("enable", None)
    expected |= {"interp": "FFmpeg"} if expected["interp"] == "FILM" else {}
    # what the old extension does not have comes back as by default, whatever the page had; how a user saves stays
    own = {s.api: str(s.default) for s in SETTINGS.values() if s.own_infotext and s.api != "format"}
    own |= {"long_clips": "windows"} if entry is V2 else {}  # that is how it made clips beyond a context
    assert {name: str(value) for name, value in found.items()} == own | expected
    assert from_api(found)[1] == []


@pytest.mark.parametrize(
    "others",
    [{}, {"Seed": "7"}, {"AnimateDiff": ""}, {"AnimateDiff": "nonsense"}, {"AnimateDiff": '{"enable": true}'}],
)
def test_other_infotexts_change_nothing(host, others):
    assert pasted(host, others) == {}


TRAPS = (
    ", ",
    ": ",
    '"',
    "\\",
    "\n",
    "\r\n",
    " ",
    "fps",
    ", fps: 3",
    ", version: x",
    "model",
    "sub\\v2",
    "猫",
    "'",
    "+",
    "",
)
"""What a value may be made of that means something in an entry."""


def values_of(known):
    if known.kind is list:
        return st.lists(st.sampled_from(known.choices), min_size=1)
    if known.kind is bool:
        return st.booleans()
    if known.choices:
        return st.sampled_from(known.choices)
    if known.kind is str:
        return st.one_of(
            st.text(alphabet=st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=30),
            st.lists(st.sampled_from(TRAPS), max_size=4).map("".join),
        )
    high = min(known.maximum or 1000, 1000)
    if known.kind is int:
        return st.integers(int(known.minimum), int(high))
    return st.floats(known.minimum, high, allow_nan=False)


WRITTEN = {
    api: known for api, known in SETTINGS.items() if (known.infotext and api != "request_id") or known.own_infotext
}


@given(values=st.fixed_dictionaries({api: values_of(known) for api, known in WRITTEN.items()}))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_comes_back_as_the_same_settings(host, values):
    values["overlap"] = min(values["overlap"], values["batch_size"] - 1)
    values["long_clips"] = "windows" if values["old_numerics"] else values["long_clips"]
    values["motion_end"] = max(values["motion_start"], values["motion_end"])
    values["interp_x"] = max(1, min(values["interp_x"], int(1000 // values["fps"])))
    animation = from_api({"enable": True, **values})[0].resolved()
    written = entries(animation, is_img2img=True, short_hash="12ab34cd")
    text = infotext_with(host, written)
    again = from_api(host.webui("infotext").arguments_of(text))
    assert again == from_api(pasted(host, read_by_host(host, text)))
    assert again[1] == []
    expected = to_api(animation)
    # "Frame" is how the API answers; alone it says nothing of files
    kept = tuple(name for name in expected["format"] if name != "Frame")
    assert to_api(again[0]) == expected | {"format": kept or SETTINGS["format"].default}


@pytest.mark.parametrize(
    "name",
    [
        "a, b.safetensors",
        "a: b.safetensors",
        "sub/v1, v2: both.safetensors",
        '"a".safetensors',
        "a, fps: 3.safetensors",
    ],
)
def test_no_name_of_a_file_breaks_the_entry(host, name):
    animation = from_api({"enable": True, "model": name, "fps": 5})[0].resolved()
    written = entries(animation, is_img2img=False, short_hash=None)
    again = from_api(pasted(host, written))[0]
    assert again.motion_module == name
    assert again.output.fps == 5


@pytest.mark.parametrize("is_img2img", [False, True])
def test_the_fields_of_the_page_take_what_is_pasted(host, is_img2img):
    """With the conversion of the host: the type of the value that a field has."""
    with gr.Blocks(analytics_enabled=False):
        host.script.ui(is_img2img)
    results = {"AnimateDiff": V2}
    host.callbacks.call("infotext_pasted", "", results)
    taken = {}
    for field, target in host.script.infotext_fields:
        value = target(results)
        if value is not None:
            kind = type(field.value)
            converted = False if kind is bool and value == "False" else float(value) if kind is int else kind(value)
            taken[target.api] = converted
    animation, _ = from_api(taken)
    expected = request(
        model="mm_sd15_v3.safetensors",
        video_length=24,
        fps=12,
        loop_number=1,
        closed_loop="N",
        batch_size=12,
        stride=2,
        overlap=3,
        interp="FFmpeg",
        interp_x=4,
        format=["GIF", "PNG"],
        long_clips="windows",
        **({"latent_power": 2, "latent_scale": 16} if is_img2img else {}),
    )
    assert to_api(animation) == to_api(from_api(expected)[0])
    assert host.script.paste_field_names == [name for _, name in host.script.infotext_fields]
