import pytest

from animatediff_ext.media import EncodeOptions, MediaError


def test_defaults_are_those_of_the_extension_before():
    options = EncodeOptions()
    assert (options.mp4_crf, options.mp4_preset, options.mp4_tune) == (23, "", "")
    assert (options.webp_quality, options.webp_lossless) == (80, False)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"mp4_crf": 52}, "CRF is 52.*from 0 to 51"),
        ({"mp4_crf": -1}, "from 0 to 51"),
        ({"mp4_crf": 23.5}, "whole number"),
        ({"webp_quality": 0}, "quality is 0.*from 1 to 100"),
        ({"webp_quality": True}, "quality is True"),
        ({"mp4_codec": "h266"}, "'h266'.*'h264', 'h265', 'av1'"),
        ({"mp4_preset": "quick"}, "'quick'.*'ultrafast'"),
        ({"mp4_tune": "music"}, "'music'.*'film', 'animation', 'grain'"),
        ({"mp4_tune": "film", "mp4_codec": "h265"}, "tune of h265 is 'film'.*'animation', 'grain'"),
        ({"gif_palette": "web"}, "'web'.*'frame', 'clip'"),
    ],
)
def test_a_wrong_setting_says_what_is_allowed(wrong, told):
    with pytest.raises(MediaError, match=told):
        EncodeOptions(**wrong)


def test_edges_are_allowed():
    EncodeOptions(mp4_crf=0, webp_quality=1)
    EncodeOptions(mp4_crf=51, webp_quality=100, mp4_tune="grain", mp4_codec="h265", gif_palette="clip")
