"""What cannot work with a family is said, and nothing else."""

import pytest

from animatediff_ext.motion import FAMILIES, advice

PLAIN = {"sampler": "Euler a", "cfg": 7.5, "num_steps": 25, "context_length": 16}


@pytest.mark.parametrize("family", ["v1", "v2", "v3", "sdxl-beta"])
def test_families_that_are_sampled_as_any_other_are_free(family):
    assert advice(FAMILIES[family], **PLAIN) == []


@pytest.mark.parametrize(
    ("family", "how"),
    [
        ("animatelcm", {"sampler": "LCM", "cfg": 1.5, "num_steps": 6}),
        ("animatelcm", {"sampler": "LCM", "schedule": "SGM Uniform", "cfg": 1.5, "num_steps": 6}),
        ("lightning", {"sampler": "Euler", "schedule": "SGM Uniform", "cfg": 1, "num_steps": 4}),
        ("lightning", {"sampler": "Euler SGM Uniform", "cfg": 1, "num_steps": 8}),
        ("hotshot-xl", {"context_length": 8}),
    ],
)
def test_what_their_authors_say_is_not_warned_of(family, how):
    assert advice(FAMILIES[family], **PLAIN | how) == []


@pytest.mark.parametrize(
    ("family", "how", "words"),
    [
        ("animatelcm", {"cfg": 1.5, "num_steps": 6}, "AnimateLCM: the sampler is Euler a, but it needs LCM."),
        ("animatelcm", {"sampler": "LCM", "num_steps": 6}, "AnimateLCM: CFG is 7.5, but above 2.5"),
        ("animatelcm", {"sampler": "LCM", "cfg": 1}, "there are 25 steps, but it was made for 2 to 12."),
        ("lightning", {"sampler": "Euler", "cfg": 1, "num_steps": 4}, "the sampler is Euler, but it needs Euler SGM"),
        ("lightning", {"sampler": "Euler SGM Uniform", "cfg": 1, "num_steps": 5}, "it was made for 1, 2, 4, 8."),
        ("hotshot-xl", {}, "HotshotXL: the context has 16 frames, but it was trained on 8."),
    ],
)
def test_one_sentence_for_each_thing_that_is_wrong(family, how, words):
    (said,) = advice(FAMILIES[family], **PLAIN | how)
    assert words in said
