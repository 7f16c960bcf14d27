"""``python -m animatediff_ext generate``, as its user meets it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from animatediff_ext.media import probe, read_comment, read_frames
from animatediff_ext.standalone import clip as clip_module
from tests import command_line
from tests.standalone.generating import files_in, generate, write_jobs


def test_files_hold_the_frames_the_rate_and_how_they_were_made(least, tmp_path, capsys):
    formats = "gif,mp4,webp,webm,png,txt"
    arguments = [*least, "--prompt", "a red cat", "--seed", "5", "--fps", "10", "--format", formats]
    assert generate(*arguments) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.name for path in paths] == [
        "00001-5" + ending for ending in ("", ".gif", ".mp4", ".webp", ".webm", ".txt")
    ]
    for path in paths[:-1]:
        info = probe(path)
        assert (info.num_frames, info.width, info.height) == (3, 32, 32)
        assert info.fps is None or abs(info.fps - 10) < 0.01
        assert read_comment(path) == paths[-1].read_text()
    text = paths[-1].read_text()
    assert text.startswith("a red cat\nSteps: 2, Sampler: DDIM, CFG scale: 1, Seed: 5, Size: 32x32, Model hash: ")
    assert "video_length: 3, fps: 10" in text


def test_the_same_seed_gives_the_same_frames_and_another_one_others(least, tmp_path):
    for seed in (1, 1, 2):
        assert generate(*least, "--seed", seed, "--format", "png") == 0
    clips = [np.stack(list(read_frames(tmp_path / "out" / name))) for name in ("00001-1", "00002-1", "00003-2")]
    assert (clips[0] == clips[1]).all()
    assert (clips[0] != clips[2]).any()


def test_a_random_seed_is_printed_and_stored(least, tmp_path, calls, capsys):
    for _ in range(2):
        assert generate(*least, "--seed", "-1", "--format", "txt") == 0
    seeds = [call["seed"] for call in calls]
    assert seeds[0] != seeds[1]
    for number, seed in enumerate(seeds, start=1):
        assert f"Seed: {seed}," in (tmp_path / "out" / f"{number:05}-{seed}.txt").read_text()
    err = capsys.readouterr().err
    assert all(f"The seed of 0000{i + 1}-{seed} is {seed}." in err for i, seed in enumerate(seeds))


@pytest.mark.parametrize("name", ["", "cat"])
def test_what_another_command_wrote_in_the_meantime_is_not_overwritten(name, least, tmp_path, calls, monkeypatch):
    words = [*least, "--format", "txt", *(["--name", name] if name else [])]
    real = clip_module.sample

    def meanwhile(*args, **how):
        monkeypatch.setattr(clip_module, "sample", real)
        assert generate(*words, "--prompt", "b") == 0
        return real(*args, **how)

    monkeypatch.setattr(clip_module, "sample", meanwhile)
    code = generate(*words, "--prompt", "a")
    texts = [path.read_text() for path in sorted((tmp_path / "out").glob("*.txt"))]
    assert (code, [text[0] for text in texts]) == ((1, ["b"]) if name else (0, ["b", "a"]))


def test_every_option_of_sampling_reaches_the_engine(least, calls, models, tmp_path):
    Image.new("RGB", (40, 40), "red").save(tmp_path / "a.png")
    options = ["--prompt", "cat", "--size", "64x32", "--steps", "7", "--cfg", "3", "--seed", "9"]
    options += ["--sampler", "Euler a", "--init", tmp_path / "a.png", "--strength", "0.5", "--low-memory"]
    options += ["--set", "closed_loop=N", "--set", "batch_size=2", "--set", "freeinit_enable=true", "--format", "txt"]
    assert generate(*least, *options) == 0
    (call,) = calls
    animation = call["animation"]
    assert (call["width"], call["height"], call["num_steps"], call["cfg"], call["seed"]) == (64, 32, 7, 3, 9)
    assert (call["sampler"], call["start"].strength, call["streams_at_once"], call["rows"]) == (
        "Euler a",
        0.5,
        1,
        2 * 3,
    )
    assert call["start"].latents.shape == (3, 4, 4, 8)
    assert (animation.context.closed_loop, animation.context.length, animation.num_frames) == ("N", 2, 3)
    assert animation.free_init.enabled
    ((motion, weight),) = call["motion"]
    assert (motion.config.family.name, weight) == ("v2", 1.0)


def test_every_option_of_the_model_reaches_it(least, calls, models, tmp_path, monkeypatch):
    seen = []
    original = clip_module.encoded

    def encoded(*call, **how):
        seen.append((*call[1:3], how["clip_skip"], how["cfg"]))
        return original(*call, **how)

    monkeypatch.setattr(clip_module, "encoded", encoded)
    folder = models["SD 1.5"][0]
    options = ["--prompt", "cat", "--negative", "dog", "--clip-skip", "2", "--vae", folder / "vae", "--cfg", "2"]
    options += ["--tokenizer", folder / "tokenizer", "--prediction", "v", "--dtype", "bfloat16", "--format", "txt"]
    assert generate(*least, *options) == 0
    spatial = calls[0]["spatial"]
    assert seen == [("cat", "dog", 2, 2)]
    assert (spatial.prediction, spatial.unet.dtype) == ("v", torch.bfloat16)
    assert generate(*least, "--vae", tmp_path / "missing.pt") == 1
    assert generate(*least, "--tokenizer", tmp_path / "missing") == 1


def test_a_still_needs_no_motion_module(models, tmp_path, calls, capsys):
    arguments = ["--checkpoint", models["SD 1.5"][1], "--size", "32x32", "--output", tmp_path, "--format", "png"]
    assert generate(*arguments) == 2
    assert "give --motion-module FILE, or --frames 1 for a still." in capsys.readouterr().err
    assert generate(*arguments, "--frames", "1") == 0
    assert calls[0]["motion"] == []
    assert files_in(tmp_path / "00001-1") == ["00000.png"]


def test_sdxl_animates_too(models, tmp_path):
    arguments = ["--checkpoint", models["SDXL"][0], "--frames", "2", "--set", "enable=false", "--size", "32x32"]
    assert generate(*arguments, "--steps", "1", "--output", tmp_path, "--format", "gif") == 0
    assert probe(tmp_path / "00001-1.gif").num_frames == 2


def test_a_short_closed_loop_is_played_back_and_interpolation_adds_frames(least, tmp_path, calls):
    assert generate(*least, "--format", "gif", "--name", "loop", "--set", "closed_loop=A", "--frames", "4") == 0
    assert probe(tmp_path / "out" / "loop.gif").num_frames == 6
    assert generate(*least, "--format", "gif", "--name", "slow", "--set", "interp=FFmpeg", "--set", "interp_x=3") == 0
    info = probe(tmp_path / "out" / "slow.gif")
    assert info.num_frames > 3
    assert abs(info.fps - 24) < 2


def test_a_lora_changes_the_clip_at_its_strength(least, tmp_path, models):
    stem = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    tensors = {f"{stem}.lora_down.weight": torch.ones(1, 64), f"{stem}.lora_up.weight": torch.ones(96, 1)}
    save_file(tensors, tmp_path / "a.safetensors")
    for strength in (0, 1):
        name = ["--name", f"at {strength}", "--format", "png", "--prompt", "cat"]
        assert generate(*least, *name, "--lora", f"{tmp_path / 'a.safetensors'}:{strength}") == 0
    assert generate(*least, "--name", "none", "--format", "png", "--prompt", "cat") == 0
    none, at_0, at_1 = (np.stack(list(read_frames(tmp_path / "out" / name))) for name in ("none", "at 0", "at 1"))
    assert (none == at_0).all()
    assert (none != at_1).any()
    assert "cat <lora:a:1>" in read_comment(tmp_path / "out" / "at 1")


def test_at_strength_0_a_video_comes_back_as_the_vae_shows_it(least, tmp_path, loaded):
    assert generate(*least, "--name", "a", "--format", "png") == 0
    init = ["--init", tmp_path / "out" / "a", "--strength", "0", "--name", "b", "--format", "png", "--frames", "0"]
    assert generate(*least, *init) == 0
    spatial = loaded["SD 1.5"]
    before, after = (np.stack(list(read_frames(tmp_path / "out" / name))) for name in "ab")
    pixels = torch.from_numpy(before).permute(0, 3, 1, 2).float() / 127.5 - 1
    np.testing.assert_array_equal(after, np.stack(list(spatial.decode(spatial.encode_frames(pixels)[0]))))


def test_a_last_picture_reaches_the_latents(least, calls, tmp_path):
    for name in ("red", "blue"):
        Image.new("RGB", (32, 32), name).save(tmp_path / f"{name}.png")
    first = ["--init", tmp_path / "red.png", "--format", "txt"]
    assert generate(*least, *first) == 0
    assert generate(*least, *first, "--set", f"last_frame={tmp_path / 'blue.png'}") == 0
    alone, both = (call["start"].latents for call in calls)
    torch.testing.assert_close(alone[0], both[0])
    assert (alone[-1] - both[-1]).abs().max() > 1e-3


def test_a_last_picture_may_be_in_the_home_folder_and_is_a_path(least, calls, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    pictures = {"init": "~/red.png", "last_frame": "~/red.png", "format": "txt"}
    assert generate(*least, "--jobs", write_jobs(tmp_path, pictures, pictures | {"last_frame": 5})) == 1
    assert len(calls) == 1
    assert "Line 2: last_frame is 5: give the path of a picture." in capsys.readouterr().err


def test_files_that_do_not_belong_together_say_so(least, models, capsys):
    assert generate(*least, "--checkpoint", models["SDXL"][1]) == 1
    assert "The motion module (AnimateDiff v2) was made for 4 levels" in capsys.readouterr().err
    assert generate(*least, "--motion-module", models["SD 1.5"][1]) == 1
    assert "not a motion module" in capsys.readouterr().err


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_out_of_memory_is_a_sentence_and_leaves_nothing(error, least, tmp_path, monkeypatch, capsys):
    def sample(*_, **__):
        raise error

    monkeypatch.setattr(clip_module, "sample", sample)
    assert generate(*least) == 1
    assert "There is not enough memory: give --low-memory" in capsys.readouterr().err
    assert not files_in(tmp_path / "out")


def test_a_mistake_of_ours_is_not_hidden(least, monkeypatch):
    def sample(*_, **__):
        raise KeyError("ours")

    monkeypatch.setattr(clip_module, "sample", sample)
    with pytest.raises(KeyError):
        generate(*least)


def test_numbers_that_overflow_are_no_black_clip(least, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(clip_module, "sample", lambda *_, **__: torch.full((3, 4, 4, 4), torch.nan))
    assert generate(*least) == 1
    assert "Numbers became too large on the way (in torch.float32): give --dtype" in capsys.readouterr().err
    assert not files_in(tmp_path / "out")


def test_more_frames_than_the_video_has_say_so(least, tmp_path, calls, capsys):
    assert generate(*least, "--name", "a", "--format", "gif") == 0
    assert generate(*least, "--init", tmp_path / "out" / "a.gif", "--frames", "5") == 1
    assert "Number of frames is 5, but init has only 3: give fewer frames" in capsys.readouterr().err
    assert generate(*least, "--set", "last_frame=a.png") == 1
    assert "last_frame is given without a first one: give that as init." in capsys.readouterr().err


def test_help_needs_neither_torch_nor_diffusers():
    code = (
        "import sys; from animatediff_ext.__main__ import _parser; _parser();"
        "print(*{'torch', 'diffusers', 'transformers'} & set(sys.modules))"
    )
    done = command_line.python("-c", code)
    assert done.stdout.strip() == ""
