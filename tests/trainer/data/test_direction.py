import pytest

from animatediff_ext.trainer.data import names_direction


@pytest.mark.parametrize(
    "caption",
    [
        "a red circle moving left",
        "Right: a fox",
        "pans to the LEFT, slowly",
        "it turns clockwise",
        "turning counter-clockwise",
        "anticlockwise",
        "a left-handed man",
        "leftwards",
        "a rightward drift",
        "the westbound train",
        "clouds from the north-east",
    ],
)
def test_a_caption_with_a_direction_is_found(caption):
    assert names_direction(caption)


@pytest.mark.parametrize(
    "caption", ["a bright cleft", "upright", "copyright", "a clock", "beasts rest", "moving up", ""]
)
def test_words_that_only_contain_one_are_not(caption):
    assert not names_direction(caption)
