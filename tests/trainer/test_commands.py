"""The command line of the trainer, as its user meets it."""

import dataclasses
import sys

import pytest
import torch

from animatediff_ext.__main__ import main
from animatediff_ext.motion import FAMILIES
from animatediff_ext.trainer.config import SECTIONS, TRAINABLE_FAMILIES, Config, options
from animatediff_ext.trainer.config_file import STAGES, as_text, commented, config_of, flat_values, read_config
from animatediff_ext.trainer.error import TrainError
from tests.command_line import python

SHOWN = {"validate__every": 1, "validate__prompts": '["a cat"]'}


def test_every_example_is_a_configuration_with_the_stages_defaults(tmp_path):
    for stage in STAGES:
        path = tmp_path / f"{stage}.toml"
        path.write_text(commented(stage), encoding="utf-8")
        written, default = read_config(stage, path), read_config(stage)
        assert dataclasses.replace(written, data=()) == dataclasses.replace(default, data=())
        assert written.data[0].path == "clips"


def test_every_option_of_a_stage_is_in_its_example_with_a_word_about_it():
    text = commented("lora")
    for section, cls in SECTIONS.items():
        assert f"[{section}]" in text
        for name, known in options(cls).items():
            line = next(line for line in text.splitlines() if line.startswith(f"{name} = "))
            assert known.api == f"{section}.{name}"
            assert line


def test_an_example_leaves_out_what_its_stage_does_not_read():
    assert "[motion]" not in commented("adapter")
    assert "[lora]" not in commented("motion")


def test_families_that_can_be_trained_exist():
    assert set(TRAINABLE_FAMILIES) <= set(FAMILIES)


def test_a_configuration_survives_being_written_into_a_state():
    config = read_config("lora", None, ["data.path=a", "data.1.path=b", "data.1.repeats=3", "optim.lr=5e-5"])
    assert config_of(flat_values(config)) == config
    assert "optim.lr = 5e-05" in as_text(config)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("optim.learning_rate=1", "no option optim.learning_rate: did you mean optim.lr?"),
        ("optm.lr=1", "did you mean optim.lr?"),
        ("sample.strid=1", "did you mean sample.stride?"),
        ("data.pth=x", "did you mean data.path?"),
        ("lr=1", "section.option=value"),
        ("optim.lr", "section.option=value"),
        ("optim.lr=fast", "optim.lr is 'fast': give a number of at least 0"),
        ("run.steps=0", "run.steps is 0: give a whole number of at least 1"),
        ("optim.name=sgd", "choose from adamw, adamw8bit, prodigy"),
        ("motion.family=v4", "choose from auto, v1, v2, v3, sdxl-beta"),
        ('sample.buckets=["256x250x16"]', "multiples of 64"),
        ('sample.buckets=["big"]', "WIDTHxHEIGHTxFRAMES"),
        ("sample.buckets=[]", "sample.buckets is empty"),
        ("diffusion.timestep_min=1000", "from 0 to 999"),
        ("diffusion.schedule=linear diffusion.beta_end=0.0001", "betas grow, between 0 and 1"),
        ("cache.folder=c", "set sample.starts"),
        ("run.name=", "run.name is ''"),
        ("run.name=a/b", "give a name for files"),
        ("run.name=aux", "give a name for files"),
        ("run.seed=4294967296", "run.seed is 4294967296"),
        ("optim.beta1=1", "optim.beta1 is 1"),
        ("validate.size=big", "validate.size has 'big'"),
    ],
)
def test_a_wrong_option_is_a_sentence_with_what_is_right(setting, words):
    with pytest.raises(TrainError) as caught:
        read_config("motion", None, setting.split(" "))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("version = 2\n", "of version 2, and this trainer reads version 1"),
        ("[optim\nlr = 1", "is no TOML"),
        ('[base]\ncheckpoint = "C:\\Users\\me"', "write paths with / or in single quotes"),
        ('[[data]]\npath = "D:\\train"', "write paths with / or in single quotes"),
        ("lr = 1\n", "no option lr"),
        ("[optimizer]\nlr = 1\n", "did you mean optim.lr?"),
        ("data = 3\n", "write it as [[data]]"),
        ('data = ["a"]\n', "write it as [[data]]"),
        ("[[run]]\nsteps = 1\n", "write it as [run]"),
        ("[diffusion]\nmin_snr = 5\nweighting = 'v'\n", "set one of them"),
        ("[validate]\nclips = 1\ntimesteps = []\n", "validate.timesteps is empty"),
    ],
)
def test_a_wrong_file_is_a_sentence(tmp_path, content, words):
    path = tmp_path / "run.toml"
    path.write_text(content)
    with pytest.raises(TrainError) as caught:
        read_config("motion", path)
    assert words in str(caught.value)


def test_a_single_table_of_data_is_taken_too(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('[data]\npath = "x"\n')
    assert read_config("motion", path).data[0].path == "x"


def test_settings_win_over_the_file_and_the_file_over_the_stage(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('[lora]\nrank = 7\n[run]\nname = "file"\n')
    config = read_config("adapter", path, ["run.name=said"])
    assert (config.lora.rank, config.run.name, config.sample.batch) == (7, "said", 8)


@pytest.mark.parametrize("name", ["2024", "true", "2024-01-01", "a b"])
def test_quotes_may_be_left_out_of_texts(name):
    assert read_config("motion", None, [f"run.name={name}"]).run.name == name
    assert read_config("motion", None, [f"run.name='{name}'"]).run.name == name


def test_a_tilde_is_the_home_folder_in_every_path(tmp_path, monkeypatch):
    """No shell sees those of a file, nor those behind the ``=`` of ``--set``."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    written = [
        f"{section}.{name}"
        for section, cls in SECTIONS.items()
        for name, known in options(cls).items()
        if known.is_path and known.kind is str
    ]
    assert {"run.output", "base.checkpoint", "data.path", "motion.init", "cache.folder"} <= set(written)
    config = read_config(
        "motion", None, [*(f"{name}=~/x" for name in written), "validate.checkpoints=['~/x']", "sample.starts=4"]
    )
    read = [
        getattr(config.data[0] if section == "data" else getattr(config, section), name)
        for section, _, name in (name.partition(".") for name in written)
    ]
    assert {*read, *config.validate.checkpoints} == {str(tmp_path / "x")}


def test_init_writes_a_new_file_and_never_over_one(tmp_path, capsys):
    path = tmp_path / "run.toml"
    assert main(["train", "init", "motion", str(path)]) == 0
    assert read_config("motion", path)
    assert main(["train", "init", "motion", str(path)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert main(["train", "init", "adapter"]) == 0
    assert capsys.readouterr().out == commented("adapter")


def test_check_shows_the_run_its_size_and_its_data_and_trains_nothing(runs, capsys):
    words = runs.words(optim__lr=5e-5, sample__batch=2)
    assert main(["train", "check", "motion", *words, "--processes", "2"]) == 0
    shown = capsys.readouterr().out
    for part in (
        "optim.lr = 5e-05",
        "5 clips in 1 bucket (64x64x4: 5).",
        "million parameters are trained",
        "6 steps of 4 clips; one pass over the data takes 2",
        "GiB for each process on a CPU, with products in fp32 (precision.amp): ",
    ):
        assert part in shown
    assert not list(runs.folder.rglob("*.state"))
    assert not list(runs.folder.rglob("*.safetensors"))


def test_check_assumes_the_number_format_that_the_device_would_train_in(runs, capsys, monkeypatch):
    """The models stay where they are: a GPU may be at work on another run."""
    in_bf16 = _checked(runs, capsys, precision__amp="bf16")
    monkeypatch.setattr("animatediff_ext.trainer.check.own_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert "in bf16 (precision.amp)" in in_bf16
    assert _checked(runs, capsys) == in_bf16.replace("CPU", "GPU")


def _checked(runs, capsys, **options) -> str:
    assert main(["train", "check", "adapter", *runs.words(sample__buckets='["64x64x1"]', **options)]) == 0
    return capsys.readouterr().out.splitlines()[-1]


def test_check_counts_the_parameters_and_less_memory_with_checkpointing(runs):
    from animatediff_ext.trainer.memory import estimate

    needs = {on: estimate(runs.trainer("motion", precision__gradient_checkpointing=on)) for on in ("true", "false")}
    assert needs["true"].activations < needs["false"].activations
    assert needs["true"].trained == needs["false"].trained
    trainer = runs.trainer("motion")
    assert needs["true"].trained == 16 * sum(p.numel() for p in trainer.parameters)


@pytest.mark.parametrize(
    ("stage", "changed", "words"),
    [
        ("motion", {"base__checkpoint": ""}, "base.checkpoint is empty"),
        ("motion", {"base__checkpoint": "/no/such.safetensors"}, "is not there"),
        ("motion", {"data__path": "/no/such"}, "/no/such"),
        ("motion", {"motion__family": "sdxl-beta"}, "choose one of v1, v2, v3"),
        ("motion", {"sample__stride": 50}, "nothing to train on"),
        ("lora", {}, "motion.init is empty"),
        ("lora", {"motion__init": "/no/such.safetensors"}, "is not there"),
        ("motion", {"adapter__path": "/no/such.safetensors"}, "is not there"),
        ("motion", {"diffusion__zero_terminal_snr": "true"}, "v-prediction"),
        ("motion", {"validate__clips": 5, "validate__every": 1}, "validate.clips is 5"),
        ("motion", {"sample__buckets": '["64x64x4", "64x64x40"]'}, "at most 32 frames, or raise motion.positions."),
        ("motion", {"motion__positions": 3}, "64x64x4, of 4 frames, but the motion module knows 3 positions"),
        ("motion", SHOWN | {"validate__checkpoints": '["/no/such"]'}, "/no/such, which is not there"),
        ("motion", SHOWN | {"validate__size": "64x64x40"}, "40 frames, but the motion module knows 32"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence_and_status_1(runs, capsys, stage, changed, words):
    assert main(["train", stage, *runs.words(**changed)]) == 1
    message = capsys.readouterr().err
    assert words in message
    assert message.count("animatediff_ext: ") == 1
    assert "Traceback" not in message


def test_a_file_of_another_kind_is_named_for_what_it_is(runs, motion_module, capsys):
    assert main(["train", "motion", *runs.words(base__checkpoint=motion_module)]) == 1
    assert "motion module" in capsys.readouterr().err
    assert main(["train", "motion", *runs.words(adapter__path=motion_module)]) == 1
    assert "is a motion module, not a LoRA" in capsys.readouterr().err


def test_a_missing_caption_is_an_error_that_names_the_clip(runs, tmp_path, capsys, clips):
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "clip.mp4").write_bytes((clips / "clip0.mp4").read_bytes())
    assert main(["train", "motion", *runs.words(data__path=folder)]) == 1
    assert "clip.mp4" in capsys.readouterr().err
    words = runs.words(data__path=folder, data__caption="a disc", run__steps=1)
    assert main(["train", "motion", *words]) == 0


@pytest.mark.parametrize(("name", "package"), [("adamw8bit", "bitsandbytes"), ("prodigy", "prodigyopt")])
def test_an_optimizer_whose_package_is_missing_says_so(runs, monkeypatch, capsys, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.optim", None)
    assert main(["train", "motion", *runs.words(optim__name=name)]) == 1
    assert f"pip install {package}" in capsys.readouterr().err


def test_help_needs_neither_torch_nor_diffusers(tmp_path):
    code = (
        "import sys; from animatediff_ext.__main__ import _parser; _parser(); "
        "print({'torch', 'diffusers'} & set(sys.modules))"
    )
    done = python("-c", code)
    assert done.stdout.strip() == "set()"


def test_what_reads_no_toml_needs_no_reader_of_it(tmp_path):
    """Python 3.10 has none of its own, and the package may be missing."""
    code = (
        "import sys; sys.modules['tomllib'] = sys.modules['tomli'] = None; "
        "from animatediff_ext.__main__ import main; sys.exit(main())"
    )
    assert "[optim]" in python("-c", code, "train", "init", "motion").stdout
    path = tmp_path / "job.toml"
    path.write_text("frames = 8")
    done = python("-c", code, "generate", "--config", path, check=False)
    assert done.returncode == 1
    assert "this command needs the package tom" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_package_says_what_to_install(runs):
    code = "import sys; sys.modules['diffusers'] = None; from animatediff_ext.__main__ import main; sys.exit(main())"
    done = python("-c", code, "train", "motion", *runs.words(), check=False)
    assert done.returncode == 1
    assert "this command needs the package diffusers: `pip install" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "called"),
    [
        (["train", "motion"], "animatediff_ext.trainer.run.train"),
        (["generate", "--checkpoint", "x", "--motion-module", "y"], "animatediff_ext.standalone.generate.generate"),
        (["demo"], "animatediff_ext.toy.demo.demo"),
    ],
)
def test_all_commands_say_alike_what_is_missing(monkeypatch, capsys, words, called):
    def fails(*_arguments, **_options):
        raise ModuleNotFoundError("No module named 'transformers'", name="transformers")

    monkeypatch.setattr(called, fails)
    assert main(words) == 1
    assert "animatediff_ext: this command needs the package transformers: `pip install" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "called", "sentence"),
    [
        (["toy", "build"], "animatediff_ext.toy.build.build", "the same command goes on from it"),
        (["toy", "measure"], "animatediff_ext.toy.studio.Studio", "The same command measures everything anew"),
    ],
)
def test_ctrl_c_in_the_toy_world_is_no_traceback(monkeypatch, capsys, words, called, sentence):
    def interrupted(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(called, interrupted)
    assert main(words) == 130
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WORLD_SIZE", "two", "The launcher set a number that is none (invalid literal for int() with base 10: 'two')"),
        ("RANK", "zero", "The launcher set a number that is none"),
        ("RANK", "1", "RANK is 1, but WORLD_SIZE is 1"),
    ],
)
def test_what_a_launcher_sets_wrong_is_one_sentence(runs, monkeypatch, capsys, name, value, words):
    monkeypatch.setenv(name, value)
    assert main(["train", "motion", *runs.words()]) == 1
    assert words in capsys.readouterr().err


def test_ctrl_c_before_the_run_is_no_traceback(runs, monkeypatch):
    def interrupted(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("animatediff_ext.trainer.run.gather", interrupted)
    assert main(["train", "motion", *runs.words()]) == 130


def test_our_own_mistakes_keep_their_traceback(runs, monkeypatch):
    def broken(*_arguments, **_options):
        raise ValueError("zip() argument 2 is shorter")

    monkeypatch.setattr("animatediff_ext.trainer.run.gather", broken)
    with pytest.raises(ValueError, match="zip"):
        main(["train", "motion", *runs.words()])


def test_the_default_configuration_is_one(capsys):
    assert Config() == read_config("motion")
