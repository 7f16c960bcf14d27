"""Every way of sampling gives a right video, and the WebUI is exactly as it was afterwards."""

import base64
import io
import json
import threading
import time

import pytest
from PIL import Image

from tests.live.conftest import decoded, wanted

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("unchanged")]

LONG = ", ".join(f"word{i} and more" for i in range(40))
HIRES = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.7, "hr_second_pass_steps": 2}


def picture(size=64, colour=(200, 40, 40)) -> str:
    image = Image.new("RGB", (size, size), colour)
    image.paste((20, 200, 60), (0, 0, size // 2, size // 2))
    data = io.BytesIO()
    image.save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def check(answer, *, num_frames=6, size=64, fps=8, num_videos=1):
    assert answer.status_code == 200, answer.text
    videos = answer.json()["images"]
    assert len(videos) == num_videos
    for video in videos:
        clip = decoded(video, ".mp4")
        assert (clip.num_frames, clip.width, clip.height) == (num_frames, size, size)
        assert clip.fps == pytest.approx(fps)
    return videos


SCENARIOS = {
    "plain": {},
    "cond and uncond in separate calls": {"override_settings": {"batch_cond_uncond": False}},
    "long prompt": {"prompt": LONG},
    "long negative prompt": {"negative_prompt": LONG},
    "AND": {"prompt": "a cat AND a dog :0.8 AND a tree"},
    "AND with separate calls": {"prompt": "a cat AND a dog", "override_settings": {"batch_cond_uncond": False}},
    "AND with a long prompt": {"prompt": f"{LONG} AND a dog"},
    "CFG 1": {"cfg_scale": 1},
    "NGMS": {"s_min_uncond": 4.0, "steps": 6},
    "NGMS with AND": {"s_min_uncond": 4.0, "steps": 6, "prompt": "a cat AND a dog"},
    "skip early CFG": {"override_settings": {"skip_early_cond": 0.5}, "steps": 4},
    "scheduled prompt": {"prompt": "a [cat:dog:0.5] and [sun|moon]", "steps": 4},
    "zero terminal SNR": {"override_settings": {"sd_noise_schedule": "Zero Terminal SNR"}},
    "DDIM": {"sampler_name": "DDIM"},
    "Euler": {"sampler_name": "Euler"},
    "DPM++ 2M": {"sampler_name": "DPM++ 2M"},
    "DPM++ SDE": {"sampler_name": "DPM++ SDE"},
    "DPM++ 2M Karras": {"sampler_name": "DPM++ 2M", "scheduler": "Karras"},
    "UniPC": {"sampler_name": "UniPC", "steps": 4},
    "LCM": {"sampler_name": "LCM"},
    "Heun": {"sampler_name": "Heun"},
    "PLMS": {"sampler_name": "PLMS", "steps": 4},
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_txt2img(webui, name):
    check(webui.animate(**SCENARIOS[name]))


@pytest.mark.parametrize("upscaler", ["Latent", "Lanczos"])
@pytest.mark.parametrize("sampler", ["Euler a", "DDIM"])
def test_hires_fix(webui, upscaler, sampler):
    check(webui.animate(**HIRES, hr_upscaler=upscaler, sampler_name=sampler), size=128)


DIRECTED = {
    "windows": {"long_clips": "windows"},
    "views": {"long_clips": "views"},
    "effect over frames": {"motion_effect": "0: 0, 100%: 1.2"},
    "effect over sampling": {"motion_effect_steps": "0%: 1, 50%: 0", "motion_start": 0.1, "motion_end": 0.9},
    "scale and blocks": {"motion_scale": 1.3, "motion_blocks": "down 0: 0, mid: 0.5"},
    "FreeNoise": {"noise_kind": "FreeNoise", "overlap": 3},
    "mixed noise": {"noise_kind": "mixed", "noise_share": 0.7},
    "FreeInit from coarse to fine": {"freeinit_enable": True, "freeinit_coarse": True, "noise_kind": "repeated"},
}


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ SDE"])
@pytest.mark.parametrize("name", DIRECTED)
def test_directed(webui, name, sampler):
    """In both passes, and with samplers that draw noise at each step."""
    clip = {"video_length": 8, "batch_size": 4, "format": ["Frame"], "long_clips": "views"}
    frames, plain = (
        webui.animate(animation=asked, sampler_name=sampler, **HIRES).json()["images"]
        for asked in ({**clip, **DIRECTED[name]}, clip)
    )
    assert len(frames) == len(plain) == 8
    assert (frames == plain) == (name == "views")


def test_more_positions_than_the_motion_module_knows(webui):
    long = {"video_length": 40, "batch_size": 40}
    check(webui.animate(animation={**long, "motion_positions": "stretch"}), num_frames=40)
    refused = webui.animate(animation=long)
    assert refused.status_code == 422
    assert "motion_positions" in refused.text


@pytest.mark.parametrize("frames", [1, 5, 8, 13, 20])
def test_fewer_as_many_and_more_frames_than_the_context(webui, frames):
    check(webui.animate(animation={"video_length": frames}), num_frames=frames)


@pytest.mark.parametrize("closed_loop", ["N", "R-P", "R+P", "A"])
def test_closed_loops(webui, closed_loop):
    check(webui.animate(animation={"video_length": 12, "closed_loop": closed_loop}), num_frames=12)


def test_a_short_closed_loop_plays_back(webui):
    check(webui.animate(animation={"video_length": 6, "closed_loop": "A"}), num_frames=10)


@pytest.mark.parametrize("filter_name", ["butterworth", "gaussian", "box", "ideal"])
def test_freeinit(webui, filter_name):
    freeinit = {"freeinit_enable": True, "freeinit_filter": filter_name, "freeinit_iters": 2}
    refined = check(webui.animate(animation=freeinit, **HIRES, hr_upscaler="Latent"), size=128)
    assert refined != check(webui.animate(**HIRES, hr_upscaler="Latent"), size=128)


def test_freeinit_in_img2img_and_for_several_videos(webui):
    freeinit = {"freeinit_enable": True, "freeinit_iters": 3}
    check(webui.animate("img2img", animation=freeinit, init_images=[picture()], n_iter=2), num_videos=2)


def test_frame_interpolation_multiplies_the_fps(webui):
    check(webui.animate(animation={"interp": "FILM", "interp_x": 3}), num_frames=16, fps=24)


def test_zero_frames_is_one_context(webui):
    check(webui.animate(animation={"video_length": 0, "batch_size": 4}), num_frames=4)


def test_windows_with_and_and_hires(webui):
    check(
        webui.animate(animation={"video_length": 12}, prompt="a AND b", **HIRES, hr_upscaler="Latent"),
        num_frames=12,
        size=128,
    )


def test_batch_count_is_the_number_of_videos_and_seeds_go_on(webui):
    answer = webui.animate(n_iter=2, batch_size=3)
    check(answer, num_videos=2)
    info = json.loads(answer.json()["info"])
    assert info["all_seeds"] == list(range(7, 7 + 12))
    assert len(info["infotexts"]) == 2


def test_the_same_request_gives_the_same_video(webui):
    """Frame by frame: of pictures below 128 pixels x264 makes now and then another file, whatever its threads are."""
    first, second = (webui.animate(animation={"video_length": 12, "format": ["Frame"]}) for _ in range(2))
    assert first.json()["images"] == second.json()["images"]


def test_motion_changes_the_pictures(webui):
    """Frames of an animation are not the stills of their seeds."""
    frames = webui.animate(animation={"format": ["Frame"]}).json()["images"]
    still = webui.still(sampler_name="Euler a")
    assert frames[0] != still[0]


def test_fps(webui):
    check(webui.animate(animation={"fps": 12}), fps=12)


def test_formats_come_in_the_old_order_with_the_frames_last(webui):
    answer = webui.animate(animation={"format": ["PNG", "WEBM", "WEBP", "MP4", "GIF", "Frame", "TXT"]})
    images = answer.json()["images"]
    for image, ending in zip(images, [".gif", ".mp4", ".webp", ".webm"], strict=False):
        clip = decoded(image, ending)
        assert (clip.num_frames, clip.width, clip.height) == (6, 64, 64)
    assert len(images) == 4 + 6
    assert all(Image.open(io.BytesIO(base64.b64decode(image))).size == (64, 64) for image in images[4:])


def test_pictures_only(webui):
    assert len(webui.animate(animation={"format": ["PNG"]}).json()["images"]) == 6


def test_several_dictionaries_merge_and_unknown_keys_are_mentioned(webui):
    answer = webui.post(
        "txt2img",
        prompt="x",
        width=64,
        height=64,
        steps=2,
        alwayson_scripts={
            "animatediff": {
                "args": [
                    {"enabled": True, "model": webui.motion_module, "format": ["MP4"], "no_such_key": 1},
                    {"video_length": 3},
                ]
            }
        },
    )
    check(answer, num_frames=3)


def test_override_checkpoint(webui):
    name = wanted("WEBUI_SECOND_CHECKPOINT")
    check(webui.animate(override_settings={"sd_model_checkpoint": name}))


def test_override_checkpoint_of_another_layout(webui):
    check(
        webui.animate(
            animation={"model": wanted("WEBUI_OTHER_MODULE")},
            override_settings={"sd_model_checkpoint": wanted("WEBUI_OTHER_LAYOUT")},
        )
    )


@pytest.mark.parametrize("upscaler", ["Latent", "Lanczos"])
def test_hires_fix_with_another_checkpoint(webui, upscaler):
    name = wanted("WEBUI_SECOND_CHECKPOINT")
    check(webui.animate(**HIRES, hr_upscaler=upscaler, hr_checkpoint_name=name), size=128)


@pytest.mark.parametrize("sampler", ["Euler a", "DDIM", "DPM++ 2M"])
def test_refiner(webui, sampler):
    name = wanted("WEBUI_SECOND_CHECKPOINT")
    check(
        webui.animate(refiner_checkpoint=name, refiner_switch_at=0.5, steps=6, sampler_name=sampler, n_iter=2),
        num_videos=2,
    )


def test_lora_in_the_prompt(webui):
    name = wanted("WEBUI_LORA")
    with_lora = check(webui.animate(prompt=f"a red cat <lora:{name}:1>"))
    assert with_lora != check(webui.animate())


@pytest.mark.parametrize("sampler", ["Euler a", "DDIM", "DPM++ 2M"])
def test_img2img(webui, sampler):
    check(webui.animate("img2img", init_images=[picture()], denoising_strength=0.7, sampler_name=sampler))


def test_img2img_with_a_last_frame(webui):
    check(
        webui.animate(
            "img2img",
            animation={"last_frame": picture(colour=(20, 20, 220)), "latent_power": 1.5, "latent_scale": 16},
            init_images=[picture()],
            denoising_strength=0.7,
        )
    )


def test_inpaint(webui):
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (16, 16, 48, 48))
    data = io.BytesIO()
    mask.save(data, "PNG")
    for whole in (0, 1):
        check(
            webui.animate(
                "img2img",
                init_images=[picture()],
                mask=base64.b64encode(data.getvalue()).decode(),
                denoising_strength=0.7,
                inpaint_full_res=whole,
                inpainting_fill=1,
            )
        )


def test_several_pictures_are_the_frames(webui):
    check(
        webui.animate("img2img", animation={"video_length": 0}, init_images=[picture()] * 4, batch_size=4), num_frames=4
    )


def in_background(webui, **changes):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(webui.animate(**changes)), daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while webui.get("/sdapi/v1/progress")["progress"] <= 0.05 and time.monotonic() < deadline:
        time.sleep(0.02)
    return thread, answers


def test_progress_is_shown(webui):
    thread, _ = in_background(webui, steps=20, animation={"video_length": 12})
    state = webui.get("/sdapi/v1/progress")
    thread.join()
    assert state["state"]["sampling_steps"] == 20


@pytest.mark.parametrize("button", ["interrupt", "skip"])
def test_interrupt_and_skip(webui, button):
    thread, answers = in_background(webui, steps=150, animation={"video_length": 12})
    webui.post(button)
    thread.join()
    check(answers[0], num_frames=12)
    assert webui.get("/sdapi/v1/progress")["state"]["sampling_step"] < 149


@pytest.mark.parametrize("button", ["interrupt", "skip"])
def test_interrupt_and_skip_in_freeinit(webui, button):
    thread, answers = in_background(webui, steps=100, animation={"freeinit_enable": True})
    webui.post(button)
    thread.join()
    check(answers[0])


@pytest.mark.parametrize("button", ["interrupt", "skip"])
def test_interrupt_and_skip_in_hires_fix(webui, button):
    thread, answers = in_background(webui, steps=60, **{**HIRES, "hr_upscaler": "Latent", "hr_second_pass_steps": 60})
    webui.post(button)
    thread.join()
    assert answers[0].status_code == 200
