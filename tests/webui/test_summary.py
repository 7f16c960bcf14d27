"""What the page says of its fields as they stand."""

import pytest

from animatediff_ext.params import SETTINGS, from_api
from tests.webui.host import request


def said(host, prompts=("", ""), **fields) -> tuple[dict, str]:
    summary = host.webui("summary")
    asked = request(**{"video_length": 0, "format": ["GIF", "PNG"], **fields})
    defaults = {name: asked.get(name, SETTINGS[name].default) for name in summary.DEPENDS_ON}
    return summary.facts(*prompts, *defaults.values())


@pytest.mark.parametrize(
    ("fields", "summary", "duration"),
    [
        ({}, "16 frames · 8 fps · 2 s · mm v2", "16 frames at 8 fps: 2 s"),
        ({"video_length": 24, "fps": 7.5}, "24 frames · 7.5 fps · 3.2 s · mm v2", "24 frames at 7.5 fps: 3.2 s"),
        ({"closed_loop": "A"}, "16 frames · 8 fps · 3.75 s · mm v2", "30 frames at 8 fps: 3.75 s"),
        (
            {"interp": "FFmpeg", "interp_x": 2, "video_length": 8, "fps": 4},
            "8 frames · 4 fps · 1.88 s · mm v2",
            "15 frames at 8 fps: 1.88 s",
        ),
        ({"model": "not there.safetensors"}, "16 frames · 8 fps · 2 s · not there", "16 frames at 8 fps: 2 s"),
    ],
)
def test_the_summary_and_how_long_the_video_plays(host, fields, summary, duration):
    facts, line = said(host, **fields)
    assert facts["summary"] == summary
    assert duration in line


def test_keys_of_both_prompts_are_counted(host):
    facts, _ = said(host, ("0: a\n4: b\n8: c", "still"))
    assert facts["summary"].endswith(" · travel 3 keys")
    facts, _ = said(host, ("0: a\n4: b\n8: c", "0: x\n5: y"))
    assert facts["summary"].endswith(" · travel 3 + 2 keys")


def test_an_extension_that_is_off_says_nothing_and_a_mistake_is_said(host):
    assert said(host, enable=False)[0]["summary"] == ""
    facts, line = said(host, overlap=20)
    assert facts["problem"]
    assert "Overlap is 20" in facts["summary"]
    assert line == ""
    assert said(host, overlap=20, enable=False)[0]["summary"] == ""
    assert "Number of frames" in said(host, video_length=-1)[0]["summary"]


def test_what_the_fields_contradict_is_said_before_anything_is_generated(host):
    longer = {"video_length": 64, "batch_size": 64}
    for fields, words in (
        (longer, "at most 32 frames together"),
        ({**longer, "model": "not there.safetensors", "second_model": "v2.safetensors"}, "at most 32"),
        ({"motion_start": 0.8, "motion_end": 0.2}, "from 0.8 until 0.2"),
    ):
        facts, line = said(host, **fields)
        assert facts["problem"], fields
        assert words in facts["summary"]
        assert line == ""
        assert said(host, enable=False, **fields)[0]["summary"] == ""
    for fields in ({**longer, "motion_positions": "stretch"}, {**longer, "model": "not there.safetensors"}):
        assert not said(host, **fields)[0]["problem"]


def test_a_very_long_clip_is_summed_up_without_reading_its_prompt(host):
    facts, _ = said(host, ("0: a\n4: b", ""), video_length=10_000_000)
    assert facts["summary"].startswith("10000000 frames · ")


@pytest.mark.parametrize(
    ("fields", "awake", "idle"),
    [
        ({"video_length": 16}, {"fps"}, {"overlap", "stride", "context_schedule", "context_weights", "long_clips"}),
        (
            {"video_length": 17},
            {"overlap", "stride", "context_schedule", "context_weights", "long_clips"},
            {"interp_x"},
        ),
        ({"interp": "FFmpeg", "interp_x": 2, "noise_kind": "mixed"}, {"interp_x", "noise_share"}, {"freeinit_iters"}),
        ({"freeinit_enable": True}, {"freeinit_iters", "freeinit_ds", "freeinit_enable"}, {"second_model_share"}),
        ({"second_model": "v1.safetensors", "format": ["MP4"]}, {"second_model_share"}, {"loop_number"}),
        ({"format": ["MP4", "WEBP"]}, {"loop_number"}, {"noise_share"}),
        ({"closed_loop": "R-P"}, {"fps"}, {"closed_loop"}),
        ({"closed_loop": "R-P", "video_length": 17}, {"closed_loop"}, {"noise_share"}),
        ({"closed_loop": "A"}, {"closed_loop"}, {"noise_share"}),
    ],
)
def test_fields_that_change_nothing_are_named_with_the_reason(host, fields, awake, idle):
    animation = from_api(request(**{"video_length": 0, "format": ["GIF"], **fields}))[0].resolved()
    found = dict(host.webui("summary").idle_fields(animation))
    assert idle <= set(found)
    assert not awake & set(found)
    assert all(reason.startswith("no effect: ") for reason in found.values())
    shown = said(host, **fields)[0]["idle"]
    assert {SETTINGS[name].elem_id for name in found} == set(shown)
