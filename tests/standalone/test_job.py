"""The options of a job, by every way that they can be given."""

import json
from pathlib import Path

import pytest

from animatediff_ext.__main__ import main
from animatediff_ext.params import SETTINGS
from animatediff_ext.setting import SettingsError
from animatediff_ext.standalone import SAMPLERS
from animatediff_ext.standalone.commands import FLAGS
from animatediff_ext.standalone.job import OPTIONS, OTHER_NAMES, SAMPLER_NAMES, job_of, settled, values_of
from animatediff_ext.standalone.job_list import read_defaults, read_jobs

LEAST = {"checkpoint": "base.safetensors", "model": "mm.safetensors"}
CHANGED = {
    "checkpoint": "other.ckpt",
    "prompt": "a cat, true: = 1",
    "negative": "dog",
    "size": "64x32",
    "steps": 7,
    "cfg": 3.5,
    "seed": 9,
    "sampler": "Euler a",
    "clip_skip": 2,
    "lora": ["a.safetensors:0.5"],
    "init": "a.png",
    "strength": 0.25,
    "vae": "v.safetensors",
    "tokenizer": "words",
    "prediction": "v",
    "output": "elsewhere",
    "name": "my clip",
    "device": "cpu",
    "dtype": "bfloat16",
    "low_memory": True,
    "model": "other.safetensors",
    "enable": False,
    "video_length": 5,
    "fps": 12,
    "loop_number": 3,
    "closed_loop": "A",
    "batch_size": 12,
    "stride": 2,
    "overlap": 3,
    "format": ["WEBP", "TXT"],
    "interp": "FFmpeg",
    "interp_x": 4,
    "freeinit_enable": True,
    "freeinit_filter": "gaussian",
    "freeinit_ds": 0.5,
    "freeinit_dt": 0.125,
    "freeinit_iters": 2,
    "latent_power": 2,
    "latent_scale": 16,
    "last_frame": "b.png",
    "latent_power_last": 3,
    "latent_scale_last": 8,
    "request_id": "abc",
    "gif_max_mb": 2.5,
    "gif_max_width": 320,
    "prompt_blend": "lerp",
    "context_schedule": "static",
    "context_weights": "flat",
    "old_numerics": True,
    "long_clips": "windows",
    "motion_effect": "0: 0, 8: 1.5",
    "motion_effect_steps": "0%: 1, 50%: 0",
    "motion_scale": "1.2",
    "motion_blocks": "down 0: 0.5, mid: 0",
    "motion_start": 0.25,
    "motion_end": 0.75,
    "motion_positions": "cap",
    "second_model": "other.safetensors",
    "second_model_share": 0.75,
    "motion_loras": "zoom.safetensors = 0.5",
    "noise_kind": "FreeNoise",
    "noise_share": 0.25,
    "freeinit_coarse": True,
}
CONTROLNET = {"video_source", "video_path", "mask_path"}


def as_text(value):
    if isinstance(value, list):
        return ",".join(value)
    return str(value)


def same(found, given):
    return found == (tuple(given) if isinstance(given, list) else given)


def test_every_option_is_in_the_list_of_these_tests_and_is_none_of_the_defaults():
    assert set(CHANGED) == set(OPTIONS) - CONTROLNET
    defaults = values_of(job_of(LEAST))
    assert not [name for name, value in CHANGED.items() if same(defaults[name], value)]


def test_every_setting_of_an_animation_is_an_option():
    assert set(SETTINGS) <= set(OPTIONS)
    assert set(OTHER_NAMES.values()) <= set(SETTINGS)
    assert not set(OTHER_NAMES) & set(OPTIONS)


def test_sampler_names_are_the_samplers():
    assert set(SAMPLERS) == set(SAMPLER_NAMES)


@pytest.mark.parametrize("name", CHANGED)
def test_every_option_can_be_given_in_every_way(name, tmp_path):
    value = CHANGED[name]
    toml, jsonl = tmp_path / "job.toml", tmp_path / "jobs.jsonl"
    toml.write_text(f"{name} = {json.dumps(value)}\n")
    jsonl.write_text(json.dumps({name: value}) + "\n")
    found = [
        job_of({**LEAST, **read_defaults(toml)}),
        job_of({**LEAST, **read_defaults(None, {}, [f"{name}={as_text(value)}"])}),
        read_jobs(jsonl, LEAST)[0].job,
    ]
    for job in found:
        assert same(values_of(job)[name], value)


@pytest.mark.parametrize("flag", FLAGS)
def test_every_flag_is_the_option_of_its_name(flag, monkeypatch):
    name = OTHER_NAMES.get(flag, flag)
    jobs = []
    monkeypatch.setattr("animatediff_ext.standalone.generate.generate", lambda entries, _: jobs.extend(entries) or 0)
    value = [] if OPTIONS[name].kind is bool else [as_text(CHANGED[name])]
    least = ["--checkpoint", "base.safetensors", "--motion-module", "mm.safetensors"]
    assert main(["generate", *least, f"--{flag.replace('_', '-')}", *value]) == 0
    assert same(values_of(jobs[0].job)[name], CHANGED[name])


def test_several_loras_are_several_flags(monkeypatch):
    jobs = []
    monkeypatch.setattr("animatediff_ext.standalone.generate.generate", lambda entries, _: jobs.extend(entries) or 0)
    flags = ["--checkpoint", "x", "--frames", "1", "--lora", "a,b.pt:0.5", "--lora", r"C:\c.safetensors"]
    assert main(["generate", *flags, "--lora", "d.safetensors:-1"]) == 0
    expected = [(Path("a,b.pt"), 0.5), (Path(r"C:\c.safetensors"), 1.0), (Path("d.safetensors"), -1.0)]
    assert jobs[0].job.loras == expected


def test_a_tilde_is_the_home_folder_in_every_path(tmp_path, monkeypatch):
    """Of the job's own; those of modules and LoRAs are found where their files are read (test_models)."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    names = ("checkpoint", "init", "vae", "tokenizer", "output")
    job = job_of(dict.fromkeys(names, "~/x") | {"model": "x"})
    assert {getattr(job, name) for name in names} == {str(tmp_path / "x")}


def test_lines_go_before_the_command_line_and_that_before_the_file(tmp_path):
    toml, jsonl = tmp_path / "job.toml", tmp_path / "jobs.jsonl"
    toml.write_text('checkpoint = "toml"\nframes = 1\nsteps = 2\nseed = 3\n')
    jsonl.write_text('{"seed": 5, "prompt": "a"}\n\n{"video_length": 2, "motion_module": "mm"}\n')
    defaults = read_defaults(toml, {"steps": "4", "seed": "4"}, ["cfg=1"])
    first, second = (entry.job for entry in read_jobs(jsonl, defaults))
    assert (first.checkpoint, first.steps, first.seed, first.cfg, first.prompt) == ("toml", 4, 5, 1, "a")
    assert (second.animation.num_frames, second.seed, second.motion_module) == (2, 4, "mm")


def test_lines_count_from_one_and_jobs_without_the_empty_lines(tmp_path):
    jsonl = tmp_path / "jobs.jsonl"
    jsonl.write_text('\n{"prompt": "a"}\n\n{"prompt": "b"}\n')
    assert [(entry.line, entry.number) for entry in read_jobs(jsonl, LEAST)] == [(2, 1), (4, 2)]


def test_the_digest_is_of_the_content_and_not_of_where_or_how():
    digest = job_of(LEAST).digest
    for name in CHANGED:
        other = job_of({**LEAST, name: CHANGED[name]}).digest
        assert (other == digest) == (name in ("output", "name", "device", "low_memory")), name


def test_a_job_survives_being_taken_apart():
    values = {name: CHANGED[name] for name in CHANGED}
    assert job_of(values_of(job_of(values))) == job_of(values)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"closd_loop": "N"}, "There is no option closd_loop: did you mean closed_loop?"),
        ({"negative_prompt": "x"}, "There is no option negative_prompt: did you mean negative?"),
        ({"cfg_scale": 1}, "There is no option cfg_scale: did you mean cfg?"),
        ({"width": 1}, "There is no option width: did you mean size?"),
        ({"xyz": 1}, "There is no option xyz: there are checkpoint, "),
        ({"frames": 1, "video_length": 2}, "video_length is another name of an option that is given as well"),
        ({"checkpoint": ""}, "There is no checkpoint: give --checkpoint"),
        ({"motion_module": ""}, "There is no motion module: give --motion-module FILE, or --frames 1 for a still."),
        ({"size": "big"}, "size is 'big': give WIDTHxHEIGHT, both multiples of 8, such as 512x512."),
        ({"size": "36x32"}, "both multiples of 8"),
        ({"lora": "a:b"}, "lora is 'a:b': give FILE:STRENGTH, such as zoom.safetensors:0.8."),
        ({"prompt": "cat <lora:x:1>"}, "give --lora FILE:STRENGTH"),
        ({"name": "a/b"}, "name is 'a/b', but it is to be the name of files"),
        ({"name": ".."}, "it is to be the name of files"),
        ({"name": "Con.1"}, "no name that Windows has for devices"),
        ({"format": "GIF,Frame"}, "format has Frame, which is no file: choose from GIF, MP4"),
        ({"format": "gif,avi"}, "choose from GIF, MP4, WEBP, WEBM, PNG, TXT"),
        ({"video_source": "a.mp4"}, "guide ControlNet, which this command has not: give the video as init."),
        ({"sampler": "PLMS"}, "choose from DDIM, Euler"),
        ({"seed": -2}, "seed is -2: give a whole number"),
        ({"fps": 0}, "FPS (fps) is 0: give a number from 0.1 to 240."),
    ],
)
def test_what_cannot_be_says_so(values, sentence):
    with pytest.raises(SettingsError) as caught:
        job_of({**settled({"checkpoint": "x", "motion_module": "mm"}), **settled(values)})
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_motion_module_frames_can_be_had_if_that_is_said():
    job = job_of({"checkpoint": "x", "model": "mm", "enable": "false", "video_length": 4})
    assert job.motion_module == ""
    assert job_of({"checkpoint": "x", "video_length": 1}).motion_module == ""


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("steps = \n", "is no TOML"),
        ('checkpoint = "C:\\Users\\me"', "write paths with / or in single quotes"),
        ("[animatediff]\nfps = 8\n", "has a table [animatediff]: write all options without tables."),
        ("stps = 8\n", "did you mean steps?"),
        (None, "is not there: give a file that is."),
    ],
)
def test_a_wrong_configuration_is_a_sentence(content, sentence, tmp_path, capsys):
    path = tmp_path / "job.toml"
    if content is not None:
        path.write_text(content)
    assert main(["generate", "--config", str(path)]) == 2
    assert sentence in capsys.readouterr().err


def test_a_wrong_line_does_not_hide_the_others(tmp_path):
    jsonl = tmp_path / "jobs.jsonl"
    lines = ['{"prompt": "a", "name": "x"}', "cat", "[1]", '{"stps": 1}', '{"name": "X"}', '{"seed": 4}']
    lines += ['{"name": "x", "request_id": "2"}', '{"name": "x-2"}', '{"prompt": "half an \\ud83d"}']
    jsonl.write_text("\n".join(lines))
    entries = read_jobs(jsonl, LEAST)
    assert [entry.job is not None for entry in entries] == [True, False, False, False, False, True, True, False, False]
    problems = [entry.problem for entry in entries if entry.problem]
    assert [problem.split(":")[0] for problem in problems] == [
        "This is no JSON (Expecting value)",
        "This is no JSON object",
        "There is no option stps",
        "Its files would be those of line 1 too (X)",
        "Its files would be those of line 7 too (x-2)",
        "prompt is 'half an \\ud83d', which has a zero byte or half of a character in it",
    ]


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85", "\x0b"])
def test_ends_of_lines_within_texts_end_no_job(end, tmp_path):
    jsonl = tmp_path / "jobs.jsonl"
    raw = json.dumps({"prompt": f"one{end}two"}, ensure_ascii=False) if end != "\x0b" else '{"prompt": "one"}\x0b'
    jsonl.write_text(f"{raw}\n{raw}\r\n", encoding="utf-8", newline="")
    assert [entry.line for entry in read_jobs(jsonl, LEAST)] == [1, 2]


def test_an_empty_list_of_jobs_says_so(tmp_path):
    path = tmp_path / "jobs.jsonl"
    path.write_text("\n")
    with pytest.raises(SettingsError, match=r"is empty: write one JSON object in each line.$"):
        read_jobs(path, LEAST)
