"""``python -m animatediff_ext generate``, as its user meets it."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from animatediff_ext.__main__ import main
from animatediff_ext.held import LOCK
from animatediff_ext.media import probe, read_comment, read_frames
from animatediff_ext.media.errors import DiskFullError
from animatediff_ext.setting import SettingsError
from animatediff_ext.standalone import clip as clip_module
from animatediff_ext.standalone import generate as generate_module
from animatediff_ext.standalone.devices import device_of, dtype_of, idle_gpu
from animatediff_ext.standalone.models import Models, Recent
from animatediff_ext.standalone.processes import Process, this_process
from tests import command_line

SMALL = ["--size", "32x32", "--frames", "3", "--steps", "2", "--cfg", "1"]
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def least(models, motion_file, tmp_path):
    """The arguments of a small job, with files in ``tmp_path/out``."""
    files = ["--checkpoint", str(models["SD 1.5"][1]), "--motion-module", str(motion_file)]
    return [*files, *SMALL, "--output", str(tmp_path / "out")]


@pytest.fixture
def calls(monkeypatch):
    """The arguments of every sampling; nothing is computed."""
    seen = []

    def sample(spatial, motion, conditioning, **how):
        seen.append({"spatial": spatial, "motion": motion, "rows": len(conditioning.tokens)} | how)
        width, height, num_frames = how["width"], how["height"], how["animation"].num_frames
        noise = torch.Generator().manual_seed(how["seed"])
        return torch.randn(num_frames, 4, height // 8, width // 8, generator=noise)

    monkeypatch.setattr(clip_module, "sample", sample)
    return seen


def generate(*arguments):
    return main(["generate", *map(str, arguments)])


def files_in(folder):
    """But for the file by which commands wait for each other."""
    return sorted(path.name for path in folder.iterdir() if path.name != LOCK) if folder.exists() else []


def write_jobs(tmp_path, *jobs):
    path = tmp_path / "jobs.jsonl"
    path.write_text("\n".join(job if isinstance(job, str) else json.dumps(job) for job in jobs))
    return path


# ---- one job ----


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


# ---- many jobs ----


def test_jobs_that_are_done_are_not_made_again(least, tmp_path, calls, capsys):
    jobs = write_jobs(tmp_path, {"prompt": "a"}, {"prompt": "b", "name": "bee"}, {"prompt": "c", "seed": -1})
    assert generate(*least, "--jobs", jobs) == 0
    first = files_in(tmp_path / "out")
    assert len(first) == 6
    assert {"bee.gif", "bee.mp4"} < set(first)
    assert generate(*least, "--jobs", jobs) == 0
    assert len(calls) == 3
    assert files_in(tmp_path / "out") == first
    assert "0 jobs made, 3 were there already, 0 failed." in capsys.readouterr().err


def test_a_job_of_which_a_file_is_missing_is_made_again_and_a_changed_one_has_another_name(least, tmp_path, calls):
    jobs = write_jobs(tmp_path, {"prompt": "a"}, {"prompt": "b"})
    assert generate(*least, "--jobs", jobs) == 0
    before = files_in(tmp_path / "out")
    (tmp_path / "out" / next(name for name in before if name.startswith("00001") and name.endswith("mp4"))).unlink()
    jobs = write_jobs(tmp_path, {"prompt": "a"}, {"prompt": "b, changed"})
    assert generate(*least, "--jobs", jobs) == 0
    assert len(calls) == 4
    after = files_in(tmp_path / "out")
    assert set(before) < set(after)
    assert len(after) == 6


def test_a_name_that_another_job_took_is_not_overwritten(least, tmp_path, calls, capsys):
    assert generate(*least, "--name", "cat", "--prompt", "a", "--format", "gif,png,txt") == 0
    before = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in files_in(tmp_path / "out")}
    for formats in ("gif", "png", "txt"):
        assert generate(*least, "--name", "cat", "--prompt", "b", "--format", formats) == 1
        assert "is there already, and not of this job: give another name" in capsys.readouterr().err
    assert before == {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in files_in(tmp_path / "out")}
    assert generate(*least, "--name", "cat", "--prompt", "a", "--format", "gif,png,txt") == 0
    assert "is there already: give another name, or remove its files" in capsys.readouterr().err
    assert len(calls) == 1


def test_a_job_that_fails_is_reported_with_its_line_and_the_others_go_on(least, tmp_path, capsys):
    bad = [{"clip_skip": 9}, "nonsense", {"init": "missing.png"}, {"checkpoint": "missing.ckpt"}]
    assert generate(*least, "--jobs", write_jobs(tmp_path, *bad, {"prompt": "a", "name": "good"})) == 1
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if "animatediff_ext:" in line]
    assert [line[line.index("animatediff_ext:") + 17 :].split(":")[0] for line in lines[:4]] == [
        f"Line {i}" for i in range(1, 5)
    ]
    assert "1 jobs made, 0 were there already, 4 failed." in lines[4]
    assert files_in(tmp_path / "out") == ["good.gif", "good.mp4"]


@pytest.mark.parametrize("name", ["", "cat"])
def test_a_named_job_of_a_list_overwrites_nothing_that_came_meanwhile(
    name, least, tmp_path, calls, monkeypatch, capsys
):
    first, second = (write_jobs(folder, {"prompt": folder.name, "name": name}) for folder in made(tmp_path, "a", "b"))
    real = clip_module.sample

    def meanwhile(*args, **how):
        monkeypatch.setattr(clip_module, "sample", real)
        assert generate(*least, "--format", "txt", "--jobs", second) == 0
        return real(*args, **how)

    monkeypatch.setattr(clip_module, "sample", meanwhile)
    code = generate(*least, "--format", "txt", "--jobs", first)
    texts = sorted(path.read_text()[0] for path in (tmp_path / "out").glob("*.txt"))
    assert (code, texts) == ((1, ["b"]) if name else (0, ["a", "b"]))


def made(parent, *names):
    folders = [parent / name for name in names]
    for folder in folders:
        folder.mkdir()
    return folders


def test_where_nothing_can_be_written_nothing_is_sampled(least, tmp_path, calls, capsys):
    (tmp_path / "out").write_text("a file")
    assert generate(*least) == 1
    assert "out is to be a folder, but it is a file: choose another one." in capsys.readouterr().err
    (tmp_path / "out").unlink()
    (tmp_path / "out" / "cat").mkdir(parents=True)
    (tmp_path / "out" / "cat" / "notes.txt").write_text("mine")
    jobs = write_jobs(tmp_path, {"name": "cat", "format": "png"})
    assert generate(*least, "--jobs", jobs) == 1
    assert not calls


def test_a_full_disk_ends_a_list(least, tmp_path, calls, monkeypatch, capsys):
    def save(*_, **__):
        raise DiskFullError("The disk is full.")

    monkeypatch.setattr(generate_module, "save_animation", save)
    assert generate(*least, "--jobs", write_jobs(tmp_path, {"prompt": "a"}, {"prompt": "b"}, {"prompt": "c"})) == 1
    err = capsys.readouterr().err
    assert "Line 1: The disk is full." in err
    assert "0 jobs made, 0 were there already, 1 failed, 2 were not begun." in err
    assert len(calls) == 1


def test_warnings_in_a_list_say_whose_they_are(least, tmp_path, calls, capsys):
    jobs = [{"prompt": "0: cat\n9: dog", "name": name} for name in ("a", "b")]
    assert generate(*least, "--format", "txt", "--jobs", write_jobs(tmp_path, *jobs)) == 0
    err = capsys.readouterr().err
    assert "animatediff_ext: a: The key of line" in err
    assert "animatediff_ext: b: The key of line" in err


def test_processes_share_the_jobs(least, tmp_path, calls, monkeypatch):
    jobs = write_jobs(tmp_path, *({"prompt": str(i), "format": "txt"} for i in range(5)))
    for rank, expected in ((0, 3), (1, 2)):
        for name, value in {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": rank}.items():
            monkeypatch.setenv(name, str(value))
        before = len(calls)
        assert generate(*least, "--jobs", jobs) == 0
        assert len(calls) - before == expected
    prompts = sorted((tmp_path / "out" / name).read_text()[0] for name in files_in(tmp_path / "out"))
    assert prompts == ["0", "1", "2", "3", "4"]


def test_under_torchrun_a_job_that_fails_does_not_stop_the_other_process(least, tmp_path):
    jobs = write_jobs(tmp_path, {"init": "missing.png"}, {"name": "second", "steps": 40, "format": "gif"})
    done = command_line.torchrun("generate", *least, "--jobs", jobs, processes=2)
    assert done.returncode == 1
    assert "Line 1: " in done.stderr
    assert files_in(tmp_path / "out") == ["second.gif"]


def test_every_job_is_in_the_share_of_one_process():
    for world in (1, 2, 3, 7):
        shares = [list(Process(rank=rank, world=world).share(range(10))) for rank in range(world)]
        assert sorted(item for share in shares for item in share) == list(range(10))


def test_a_launcher_that_says_nonsense_is_told_so():
    assert this_process({}) == Process()
    for environment in ({"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "x"}):
        with pytest.raises(SettingsError, match="with torchrun"):
            this_process(environment)


def test_models_are_loaded_once_for_all_jobs_that_use_them(least, tmp_path, calls, models, monkeypatch):
    loaded = []
    original = Models.__init__.__globals__["load_spatial_model"]
    monkeypatch.setitem(
        Models.__init__.__globals__,
        "load_spatial_model",
        lambda path, **how: loaded.append(path) or original(path, **how),
    )
    other = {"checkpoint": str(models["SD 1.5"][0])}
    jobs = [{}, {"seed": 2}, other, {"seed": 3}, other | {"seed": 4}, {"low_memory": True, "seed": 5}]
    assert generate(*least, "--format", "txt", "--jobs", write_jobs(tmp_path, *map(json.dumps, jobs))) == 0
    assert len(loaded) == 2
    assert len(calls) == 6


def test_only_the_last_few_are_kept_and_the_oldest_goes_first():
    kept, made = Recent(2), []
    for key in "aabacb":
        kept.get((key,), lambda key=key: made.append(key) or key)
    assert made == ["a", "b", "c", "b"]


def test_a_file_that_was_changed_is_read_again(motion_file, tmp_path):
    path = tmp_path / "mm.safetensors"
    path.write_bytes(motion_file.read_bytes())
    models = Models()
    first = models.motion(str(path))
    assert models.motion(str(path)) is first
    os.utime(path, ns=(1, 1))
    assert models.motion(str(path)) is not first


# ---- what goes wrong ----


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


def test_a_mistake_of_ours_does_not_end_a_list(least, tmp_path, calls, monkeypatch, capsys):
    real = clip_module.sample

    def sample(*args, **how):
        monkeypatch.setattr(clip_module, "sample", real)
        raise KeyError("ours")

    monkeypatch.setattr(clip_module, "sample", sample)
    assert generate(*least, "--format", "txt", "--jobs", write_jobs(tmp_path, {"name": "a"}, {"name": "b"})) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "Line 1: KeyError: 'ours'. That is a mistake of this program: please report it." in err
    assert files_in(tmp_path / "out") == ["b.txt"]


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_stop_leaves_what_is_finished_and_nothing_half_written(number, least, tmp_path):
    jobs = write_jobs(tmp_path, {"name": "first", "steps": 1}, {"name": "second", "steps": 900})
    with command_line.Command("generate", *least, "--jobs", jobs) as command:
        deadline = time.monotonic() + 60
        while command.is_running() and command.out.count("\n") < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [Path(line).name for line in command.out.splitlines()] == ["first.gif", "first.mp4"]
        time.sleep(0.5)
        command.send(number)
        assert command.wait(60) == 130
        err = command.error
    assert "Stopped. What was finished is there; the same command goes on from it." in err
    assert "Traceback" not in err
    assert files_in(tmp_path / "out") == ["first.gif", "first.mp4"]


# ---- where it computes ----


def test_the_device_is_this_process_own(monkeypatch):
    assert device_of("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_of("auto", local_rank=1) == torch.device("cuda", 1)
    assert device_of("cuda:0", local_rank=1) == torch.device("cuda", 0)
    with pytest.raises(SettingsError, match=r"has no GPU 2 for torch: it has 2, so start at most as many processes"):
        device_of("auto", local_rank=2)


@pytest.mark.parametrize("name", ["cuda", "mps", "abacus"])
def test_a_device_that_is_not_here_says_so(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(SettingsError, match=r"give (cpu|auto)"):
        device_of(name)


def test_a_gpu_that_torch_was_not_built_for_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    for found, sentence in (("C:/Windows/System32/nvidia-smi.exe", "install the build for the GPU"), (None, "None")):
        monkeypatch.setattr(shutil, "which", lambda _name, found=found: found)
        assert sentence in str(idle_gpu())
    monkeypatch.setattr(shutil, "which", lambda _name: "nvidia-smi")
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert idle_gpu() is None


def test_number_formats_are_half_on_a_gpu_and_whole_on_a_cpu():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert (dtype_of("auto", cpu), dtype_of("auto", gpu)) == (torch.float32, torch.float16)
    assert dtype_of("bfloat16", cpu) == torch.bfloat16


def test_with_little_memory_each_part_is_on_the_device_only_while_it_works(least, tmp_path, monkeypatch, models):
    """The device "meta" would lose the weights, so the moves themselves are watched."""
    moves = []
    original = clip_module.visiting
    monkeypatch.setattr(
        clip_module,
        "visiting",
        lambda device, *parts: moves.append([type(part).__name__ for part in parts]) or original(device, *parts),
    )
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    assert generate(*least, "--low-memory", "--init", tmp_path / "a.png", "--format", "txt") == 0
    assert moves == [["CLIPTextModel"], ["AutoencoderKL"], ["UNet2DConditionModel"], ["AutoencoderKL"]]


def test_with_and_without_low_memory_the_clip_is_the_same(least, tmp_path):
    for name in ("a", "b"):
        assert generate(*least, "--cfg", "3", "--name", name, "--format", "png", *["--low-memory"] * (name == "b")) == 0
    clips = [np.stack(list(read_frames(tmp_path / "out" / name))).astype(int) for name in "ab"]
    assert abs(clips[0] - clips[1]).max() <= 1


def test_help_needs_neither_torch_nor_diffusers():
    code = (
        "import sys; from animatediff_ext.__main__ import _parser; _parser();"
        "print(*{'torch', 'diffusers', 'transformers'} & set(sys.modules))"
    )
    done = command_line.python("-c", code)
    assert done.stdout.strip() == ""
