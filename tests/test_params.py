import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animatediff_ext.params import (
    SETTINGS,
    Animation,
    Context,
    FreeInit,
    ImageToVideo,
    Motion,
    Noise,
    Output,
    Source,
    from_api,
    to_api,
    value_of,
)
from animatediff_ext.setting import SettingsError

GROUPS = (Animation, Context, Source, FreeInit, ImageToVideo, Motion, Noise, Output)


def test_the_table_has_every_field_and_no_other():
    fields = [entry for group in GROUPS for entry in dataclasses.fields(group) if "setting" in entry.metadata]
    assert sorted(entry.metadata["setting"].api for entry in fields) == sorted(SETTINGS)
    for api, known in SETTINGS.items():
        assert known.api == api
        assert value_of(Animation(), known) == known.default or known.kind is None


def test_defaults_are_allowed_values():
    assert from_api(to_api(Animation())) == (Animation(), [])


def test_element_ids_are_unique():
    ids = [known.elem_id for known in SETTINGS.values() if known.elem_id]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("cls", GROUPS)
def test_settings_cannot_be_changed_in_place(cls):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(cls(), dataclasses.fields(cls)[0].name, 1)


@pytest.mark.parametrize(
    ("api", "value", "words"),
    [
        ("fps", 0, "from 0.1 to 240"),
        ("fps", "fast", "'fast'"),
        ("fps", float("nan"), "from 0.1 to 240"),
        ("video_length", -1, "at least 0"),
        ("video_length", 2.5, "whole number"),
        ("video_length", True, "whole number"),
        ("batch_size", 0, "at least 1"),
        ("overlap", -2, "at least -1"),
        ("format", ["AVI"], "GIF, MP4"),
        ("format", 3, "list"),
        ("closed_loop", "B", "N, R-P, R+P, A"),
        ("enable", "perhaps", "true or false"),
        ("model", 7, "text"),
        ("request_id", "a/b", "file name"),
        ("latent_power", 11, "from 0.1 to 10"),
    ],
)
def test_bad_values_get_a_sentence_with_what_is_allowed(api, value, words):
    with pytest.raises(SettingsError, match=api) as problem:
        from_api({api: value})
    assert words in str(problem.value)


def test_an_overlap_must_leave_something_of_the_context():
    with pytest.raises(SettingsError, match="at most 7"):
        from_api({"batch_size": 8, "overlap": 8})


def test_old_spellings_are_understood():
    animation, warnings = from_api(
        {
            "enabled": "true",
            "interp": "FILM",
            "format": "gif",
            "video_length": "24",
            "is_i2i_batch": False,
            "nonsense": 1,
        }
    )
    assert animation.enabled
    assert animation.output.interpolation == "FFmpeg"
    assert animation.output.formats == ("GIF",)
    assert animation.num_frames == 24
    assert len(warnings) == 1
    assert "nonsense" in warnings[0]


@pytest.mark.parametrize(
    ("api", "old", "means"),
    [
        ("closed_loop", True, "R+P"),  # v1.7 to v1.9.1
        ("closed_loop", False, "R-P"),
        ("interp", "NO", "Off"),  # whatever was not FILM
        ("interp", "", "Off"),
        ("interp", None, "Off"),
        ("interp", False, "Off"),
        ("interp", "film", "FFmpeg"),
    ],
)
def test_what_old_versions_took_means_what_it_meant(api, old, means):
    assert to_api(from_api({api: old})[0])[api] == means


def test_automatic_values_are_resolved():
    resolved = from_api({"video_length": 0, "batch_size": 12, "overlap": -1})[0].resolved()
    assert (resolved.num_frames, resolved.context.overlap) == (12, 3)


@given(
    api=st.sampled_from([name for name, known in SETTINGS.items() if known.kind is not None]),
    value=st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text())),
)
def test_any_value_is_taken_or_refused_with_a_sentence(api, value):
    try:
        animation, _ = from_api({api: value})
    except SettingsError as problem:
        sentence = str(problem)
    else:
        sentence = "."
        assert from_api(to_api(animation))[0] == animation
    assert sentence.endswith(".")


@pytest.mark.parametrize("number", [0.1, 1, -3, 1e-5, 1234567, 0.123456789])
def test_a_number_where_a_text_travels_is_that_number(number):
    animation = from_api({"motion_effect": number})[0]
    assert float(animation.motion.effect) == number
    assert from_api(to_api(animation))[0] == animation
