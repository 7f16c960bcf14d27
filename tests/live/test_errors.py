"""Bad input gets HTTP 422 with one clear sentence, and leaves no trace."""

import pytest

from tests.live.conftest import wanted

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("unchanged")]


def sentence(answer) -> str:
    assert answer.status_code == 422, answer.text
    return answer.json()["detail"]


@pytest.mark.parametrize(
    ("animation", "words"),
    [
        ({"model": "no_such.safetensors"}, "no_such.safetensors"),
        ({"model": "../../../config.json"}, "not found"),
        ({"video_length": -1}, "at least 0"),
        ({"video_length": "many"}, "many"),
        ({"fps": 0}, "FPS"),
        ({"batch_size": 0}, "Context batch size"),
        ({"batch_size": 64, "video_length": 64}, "positions"),
        ({"overlap": 8}, "at most 7"),
        ({"format": ["AVI"]}, "AVI"),
        ({"format": []}, "at least one"),
        ({"closed_loop": "Z"}, "R-P"),
        ({"request_id": "../../etc"}, "request_id"),
    ],
)
def test_settings_out_of_range(webui, animation, words):
    assert words in sentence(webui.animate(animation=animation))


def test_arguments_of_the_wrong_kind(webui):
    answer = webui.post("txt2img", prompt="x", steps=1, alwayson_scripts={"AnimateDiff": {"args": [True, "x"]}})
    assert "dictionary" in sentence(answer)


def test_last_frame_that_is_no_picture(webui):
    picture = webui.still()[0]
    assert "last_frame" in sentence(
        webui.animate("img2img", animation={"last_frame": "nonsense"}, init_images=[picture])
    )


def test_module_for_another_checkpoint(webui):
    assert "was made for" in sentence(webui.animate(animation={"model": wanted("WEBUI_OTHER_MODULE")}))


def test_hires_checkpoint_that_the_module_does_not_fit(webui):
    """The problem shows in a callback, whose exceptions the WebUI swallows."""
    answer = webui.animate(
        enable_hr=True, hr_upscaler="Latent", denoising_strength=0.7, hr_checkpoint_name=wanted("WEBUI_OTHER_LAYOUT")
    )
    assert "was made for" in sentence(answer)


def test_refiner_that_the_module_does_not_fit(webui):
    answer = webui.animate(refiner_checkpoint=wanted("WEBUI_OTHER_LAYOUT"), refiner_switch_at=0.5, steps=4)
    assert "was made for" in sentence(answer)


def test_more_frames_than_pictures(webui):
    picture = webui.still()[0]
    answer = webui.animate("img2img", animation={"video_length": 6}, init_images=[picture] * 3, batch_size=3)
    assert "3 pictures" in sentence(answer)
