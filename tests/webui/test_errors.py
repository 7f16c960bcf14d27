"""A problem stops the generation with one sentence: ``AnimateDiffError``, which the API answers with 422."""

import errno
import gc
import weakref
from contextlib import suppress

import pytest
import torch

from animatediff_ext.formats import FormatError
from animatediff_ext.media import MediaError
from animatediff_ext.media.pyav import has_encoder
from tests.webui.generations import HIRES, at_step, script
from tests.webui.host import NUM_FRAMES, as_base64, picture

pytestmark = pytest.mark.usefixtures("unchanged")


def sentence(host, animation=None, status: int = 422, **request) -> str:
    """What the page prints and the API answers."""
    with pytest.raises(host.error) as problem:
        host.generate(animation, **request)
    assert problem.value.status_code == status
    assert problem.value.detail == str(problem.value)
    assert "\n" not in problem.value.detail
    assert problem.value.detail[-1] == "."
    assert host.files() == []
    return problem.value.detail


@pytest.mark.parametrize(
    ("animation", "words"),
    [
        ({"model": "no such.safetensors"}, "'no such.safetensors' was not found"),
        ({"model": "no such.safetensors"}, "choose from other layout.safetensors, v1.safetensors, v2.safetensors"),
        ({"model": ""}, "was not found"),
        ({"model": "../../secret.safetensors"}, "not found"),
        ({"model": "/etc/passwd"}, "not found"),
        ({"model": "x" * 1000}, "not found"),
        ({"model": "other layout.safetensors"}, "was made for 2 levels of 32, 64 channels"),
        ({"video_length": -1}, "at least 0"),
        ({"fps": 0}, "FPS"),
        ({"batch_size": 64, "video_length": 64}, "takes at most 32 frames together"),
        ({"overlap": 16}, "at most 15"),
        ({"format": ["AVI"]}, "AVI"),
        ({"closed_loop": "Z"}, "R-P"),
        ({"request_id": "../../etc"}, "request_id"),
        ({"freeinit_enable": True, "freeinit_iters": 99}, "from 1 to 10"),
    ],
)
def test_found_before_anything_is_made(host, animation, words):
    assert words in sentence(host, animation)


def test_arguments_of_the_wrong_kind(host):
    assert "dictionary" in sentence(host, args=[True, "x"])


def test_settings_of_the_page_are_checked_as_well(host):
    assert "positions" in sentence(host, {"batch_size": 64, "video_length": 64}, api=False)
    host.opts.data["animatediff_mp4_crf"] = 99
    assert "CRF" in sentence(host, {"format": ["MP4"]})
    host.opts.data["animatediff_mp4_crf"] = 23


def test_settings_of_the_request_are_checked_as_well(host):
    calls = at_step(host, 99, None)
    assert "CRF" in sentence(host, {"format": ["MP4"]}, override_settings={"animatediff_mp4_crf": 99})
    assert calls == []


@pytest.mark.parametrize("value", ["high", None, [23], float("inf")])
@pytest.mark.parametrize(("name", "said"), [("mp4_crf", "MP4 CRF"), ("webp_quality", "WebP quality")])
def test_a_setting_that_is_no_number_is_said(host, name, said, value):
    words = sentence(host, {"format": ["MP4"]}, override_settings={f"animatediff_{name}": value})
    assert words.startswith(f"{said} is {value!r}; it must be a whole number from ")


def test_no_module_in_the_folder(host, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    before = host.opts.data["animatediff_model_path"]
    host.opts.data["animatediff_model_path"] = str(empty)
    host.webui("models").EXTENSION = tmp_path
    words = sentence(host, {}, api=False)
    assert f"no motion module in {empty}" in words
    assert "models get" in words
    assert "no motion module in empty:" in sentence(host, {})
    host.opts.data["animatediff_model_path"] = before


def test_a_file_that_is_no_motion_module(host, motion_modules):
    (motion_modules / "page.safetensors").write_text("<html>not found</html>")
    assert "page.safetensors" in sentence(host, {"model": "page.safetensors"})
    (motion_modules / "page.safetensors").unlink()


@pytest.mark.parametrize("name", ["sd-webui-animatediff", "sd-forge-animatediff", "sd-webui-EasyPhoto"])
def test_a_rival_extension(host, name):
    extensions = host.module("extensions")
    extensions.extensions.append(extensions.Extension(f"/webui/extensions/{name}"))
    assert name in sentence(host, {})
    extensions.extensions[-1].enabled = False
    assert host.generate({}).images


def test_we_are_no_rival_of_ourselves_whatever_our_folder_is_called(host, tmp_path, monkeypatch):
    folder = tmp_path / "sd-webui-animatediff"
    folder.mkdir()
    extensions = host.module("extensions")
    extensions.extensions.append(extensions.Extension(str(folder)))
    assert "sd-webui-animatediff" in sentence(host, {})
    monkeypatch.setattr(host.webui("host"), "EXTENSION", folder)
    assert host.generate({}).images


def test_scripts_that_close_no_copy_get_no_stills_and_a_word(host, monkeypatch, caplog):
    def full(*_args, **_kwargs):
        raise MediaError("The disk is full.")

    monkeypatch.setattr(host.webui("output"), "save_animation", full)
    p = host.p({"format": ["GIF"]})
    processed = host.module("processing").process_images(p)
    assert processed.images == []
    assert "The disk is full." in processed.comments
    assert "The disk is full." in p.comments, "copies share these, and *Prompts from file* answers with nothing else"
    assert "The disk is full." in caplog.text
    with pytest.raises(host.error, match="The disk is full"):
        p.close()


def test_files_that_would_play_too_fast_are_refused_before_sampling(host):
    assert "at most 1000 frames" in sentence(host, {"fps": 200, "interp": "FILM", "interp_x": 10})


@pytest.mark.skipif(not has_encoder("libsvtav1"), reason="this build of PyAV has another encoder for av1")
def test_av1_that_would_play_too_fast_is_refused_before_sampling(host):
    calls = at_step(host, 99, None)
    av1 = {"override_settings": {"animatediff_mp4_codec": "av1"}}
    fast = {"format": ["MP4"], "fps": 25, "interp": "FFmpeg", "interp_x": 10}
    assert "plays 250 frames a second" in sentence(host, fast, **av1)
    assert calls == []
    assert host.generate({**fast, "interp": "Off"}, **av1).images, "25 are no more than 240"


def test_another_engine_in_place_of_the_unet(host):
    engine = type("Engine", (), {"option": type("Option", (), {"label": "[TRT] base"})})
    host.module("sd_unet").current_unet = engine
    words = sentence(host, {})
    assert "[TRT] base" in words
    assert "SD Unet" in words
    host.module("sd_unet").current_unet = None


def test_more_frames_than_pictures(host):
    """Whatever the host's own batch size, which does not count."""
    for batch_size in (3, 1):
        assert "only 3 pictures" in sentence(
            host, {"video_length": 6}, init_images=[picture() for _ in range(3)], batch_size=batch_size
        )


@pytest.mark.parametrize(
    ("calc", "long_clips", "words"),
    [("Latent", "views", "set it to Attention"), ("Attention", "windows", "set Long clips (long_clips) to views")],
)
def test_regions_of_regional_prompter_that_would_mix_frames(host, calc, long_clips, words):
    regional = script(host, title=lambda: "Regional Prompter")
    clip = {"video_length": 6, "batch_size": 4, "long_clips": long_clips}
    assert host.generate(clip, scripts=[regional]).images, "it is there, but off"
    regional.active, regional.calc = True, calc
    assert words in sentence(host, clip, scripts=[regional])


def test_regions_by_attention_in_views(host):
    regional = script(host, title=lambda: "Regional Prompter")
    regional.active, regional.calc = True, "Attention"
    assert host.generate({"video_length": 6, "batch_size": 4, "long_clips": "views"}, scripts=[regional]).images


@pytest.mark.parametrize("num_prompts", [3, NUM_FRAMES, 8 * NUM_FRAMES])
def test_combinations_of_dynamic_prompts_are_not_dealt_out_as_frames(host, num_prompts):
    """Its *process*: a prompt and a seed for each combination, and as many batches as those fill."""

    def combine(p, *_args):
        p.all_prompts = [f"cat {i}" for i in range(num_prompts)]
        p.all_negative_prompts, p.all_seeds = [""] * num_prompts, list(range(num_prompts))
        p.n_iter = -(-num_prompts // p.batch_size)

    dynamic = script(host, process=combine, title=lambda: "Dynamic Prompts v2.17.1")
    p = host.p({}, scripts=[dynamic])
    dynamic.args_from, dynamic.args_to = len(p.script_args), len(p.script_args) + 2
    p.script_args = (*p.script_args, True, True)
    with pytest.raises(host.error, match=f"{num_prompts} prompts and seeds .* Combinatorial generation off"):
        host.run(p)


def test_prompts_of_dynamic_prompts_at_random_are_one_for_each_video(host):
    dynamic = script(host, title=lambda: "Dynamic Prompts v2.17.1")
    p = host.p({}, scripts=[dynamic])
    dynamic.args_from, dynamic.args_to = len(p.script_args), len(p.script_args) + 2
    p.script_args = (*p.script_args, True, False)
    assert host.run(p).images


def test_found_when_a_video_begins(host):
    """In *before_process_batch*."""
    assert "last_frame" in sentence(host, {"last_frame": "nonsense"}, init_images=[picture()])


def test_found_before_a_sampling(host):
    """In *process_before_every_sampling*: the second pass is not sampled."""
    with host.sd_models.weights_in_new_objects():
        calls = at_step(host, 99, None)
        assert "was made for" in sentence(host, {}, **HIRES, hr_checkpoint_name="other layout")
        assert not host.shared.state.interrupted, "the XYZ plot looks at this before each of its cells"
        host.sd_models.reload_model_weights()
    assert len(calls) == 2


def test_found_before_a_step(host):
    """In *on_cfg_denoiser*: the steps that remain are not sampled."""
    with host.sd_models.weights_in_new_objects():
        calls = at_step(host, 99, None)
        assert "was made for" in sentence(host, {}, refiner_checkpoint="other layout", steps=6)
        host.sd_models.reload_model_weights()
    assert len(calls) == 4


def test_frames_with_different_numbers_of_parts(host):
    def uneven(p, *_args, **_kwargs):
        p.prompts = ["a AND b", *p.prompts[1:]]

    assert "same number of AND parts" in sentence(host, {}, scripts=[script(host, process_batch=uneven)])


def test_another_extension_that_drops_rows(host):
    def drop(params):
        params.x, params.sigma, params.text_cond = params.x[1:], params.sigma[1:], params.text_cond[1:]

    at_step(host, 0, drop)
    assert "not whole clips of 4 frames" in sentence(host, {})


def test_too_little_memory_says_what_to_do_in_which_order(host):
    def full(*_args):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    hook = host.unet.out.register_forward_pre_hook(full)
    words = sentence(host, {}, status=503)
    hook.remove()
    order = ("Batch cond/uncond", "Long clips", "Context batch size", "Hires. fix", "--medvram")
    assert sorted(order, key=words.index) == list(order)


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError, KeyError], ids=["no memory", "a mistake of ours"])
def test_what_filled_the_memory_is_let_go_when_the_error_is_shown(host, error):
    """The WebUI empties the cache after an error, and asks for no garbage collection."""
    filled = []

    def full(*_args):
        tensor = torch.zeros(8)
        filled.append(weakref.ref(tensor))
        raise error("CUDA out of memory.")

    hook = host.unet.out.register_forward_pre_hook(full)
    gc.disable()
    try:
        with suppress(host.error, KeyError):
            host.generate({})
        assert [reference() for reference in filled] == [None]
    finally:
        gc.enable()
        hook.remove()


def test_a_file_that_is_refused_is_let_go(host, monkeypatch):
    """On Windows, nobody can replace or delete a file that is mapped into memory."""
    mapped = []

    def damaged(_path):
        tensor = torch.zeros(8)
        mapped.append(weakref.ref(tensor))
        raise FormatError("it is damaged.")

    monkeypatch.setattr(host.webui("models"), "load_motion_module", damaged)
    gc.disable()
    try:
        with suppress(host.error):
            host.generate({})
        assert [reference() for reference in mapped] == [None]
    finally:
        gc.enable()


def test_a_plot_keeps_the_words_of_a_cell_and_not_its_tensors(host):
    words = host.webui("plot_words")
    p = host.p({})
    with words.problems_heard(p) as problems:
        try:
            raise host.error("a sentence.")
        except host.error as problem:
            words.tell(p, problem)
    (kept,) = problems.values()
    assert (str(kept), kept.__traceback__) == ("a sentence.", None)


def test_a_mistake_of_ours_in_a_callback_is_not_swallowed(host, monkeypatch):
    def broken(*_args):
        raise KeyError("a mistake")

    monkeypatch.setattr(host.webui("generation").conditioning, "of_equal_length", broken)
    with pytest.raises(KeyError, match="a mistake"):
        host.generate({})


def test_found_when_files_are_written(host, monkeypatch):
    """In *postprocess*, behind which only ``p.close()`` can still raise; it closes all the same."""
    output = host.webui("output")
    problem = MediaError("A frame is too large.")
    monkeypatch.setattr(output, "save_animation", lambda *a, **k: (_ for _ in ()).throw(problem))
    assert sentence(host, {"format": ["GIF"]}) == "A frame is too large."
    p = host.p({"format": ["GIF"]})
    with pytest.raises(host.error, match="too large"):
        host.run(p)
    assert p.c is None, "the host's own close was called"


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "The disk is full"), (errno.EACCES, "may not be written")]
)
def test_a_disk_that_takes_no_files_is_no_mistake_of_the_request(host, monkeypatch, number, words):
    def refuse(*_args, **_how):
        raise OSError(number, "of the disk")

    for making in ("animatediff_ext.media.files.whole_file", "animatediff_ext.webui.names.new_stem"):
        with monkeypatch.context() as patch:
            patch.setattr(making, refuse)
            assert words in sentence(host, {"format": ["GIF"]}, status=507)


def test_a_last_frame_that_is_no_picture_is_refused_though_it_is_base64(host):
    assert "last_frame" in sentence(host, {"last_frame": "aGVsbG8="}, init_images=[picture()])
    assert host.generate({"last_frame": as_base64(picture("blue"))}, init_images=[picture()]).images


def test_what_is_ignored_is_mentioned(host):
    assert "no_such_key" in host.generate({"no_such_key": 1}).comments
