"""The command line on files: inspect and convert."""

import json

import pytest
import torch

from animatediff_ext.__main__ import main
from animatediff_ext.formats import load_motion_module, save_motion_module, sha256
from tests.command_line import python
from tests.formats.building import assert_equal
from tests.models.motion import motion_config, random_motion


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "mm_sd_v15_v2.safetensors"
    save_motion_module(random_motion(motion_config("v2")), path, metadata={"author": "me"})
    return path


def test_inspect_prints_what_a_module_is(module, capsys):
    assert main(["inspect", str(module)]) == 0
    text = capsys.readouterr().out
    for words in (
        f"{module}",
        "v2 (AnimateDiff v2), fits Stable Diffusion 1.5 checkpoints",
        "8 down, 1 mid, 12 up",
        "32 64 64 64",
        "32 frames, from the file",
        "linear 0.00085 to 0.012",
        "float16",
        f"{module.stat().st_size:,} bytes",
        sha256(module),
        "author",
    ):
        assert words in text


def test_inspect_prints_json(module, capsys):
    assert main(["inspect", "--json", "--family", "lightning", str(module)]) == 0
    (facts,) = json.loads(capsys.readouterr().out)
    assert (facts["family"], facts["num_positions"], facts["sha256"]) == ("lightning", 32, sha256(module))


def test_inspect_says_where_a_file_of_another_kind_belongs(tmp_path, capsys):
    path = tmp_path / "cat.pt"
    torch.save({"string_to_param": {"*": torch.zeros(2, 768)}}, path)
    assert main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert "a textual inversion embedding" in text
    assert "It belongs in the folder embeddings" in text


def test_inspect_goes_on_after_a_file_that_cannot_be_read(module, tmp_path, capsys):
    gone = tmp_path / "gone.ckpt"
    assert main(["inspect", str(gone), str(module)]) == 1
    printed = capsys.readouterr()
    assert "gone.ckpt is not there" in printed.err
    assert "AnimateDiff v2" in printed.out
    assert "gone" not in printed.out
    assert main(["inspect", "--json", str(gone), str(module)]) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert "is not there" in first["error"]
    assert second["family"] == "v2"


def test_an_unknown_family_lists_the_known_ones(module, capsys):
    assert main(["inspect", "--family", "v9", str(module)]) == 2
    assert "there are v1, v2, v3" in capsys.readouterr().err


def test_convert_writes_both_layouts(module, tmp_path, capsys):
    folder, single = tmp_path / "adapter", tmp_path / "back.safetensors"
    assert main(["convert", str(module), str(folder), "--to", "diffusers", "--dtype", "float32"]) == 0
    assert main(["convert", str(folder), str(single), "--dtype", "float16"]) == 0
    assert "AnimateDiff v2, official layout, float16" in capsys.readouterr().out
    before, after = load_motion_module(module), load_motion_module(single)
    assert after.config == before.config
    assert after.info.metadata["author"] == "me"
    assert_equal(after.state_dict(), before.state_dict())


def test_convert_says_what_is_wrong(tmp_path, capsys):
    assert main(["convert", str(tmp_path / "gone.ckpt"), str(tmp_path / "out.safetensors")]) == 1
    assert "gone.ckpt is not there" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "gone.ckpt"), str(tmp_path)]) == 1
    assert f"{tmp_path} is a folder: give the name of a .safetensors file." in capsys.readouterr().err


def test_help_lists_the_commands_and_imports_nothing_slow():
    code = (
        "import sys; from animatediff_ext.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print('slow' if 'torch' in sys.modules else 'quick')"
    )
    text = python("-c", code).stdout
    assert "inspect" in text
    assert "convert" in text
    assert text.endswith("quick\n")


def test_it_runs_as_a_module(module):
    done = python("-m", "animatediff_ext", "inspect", module, "gone.ckpt", check=False)
    assert done.returncode == 1
    assert "AnimateDiff v2" in done.stdout
    assert "gone.ckpt is not there" in done.stderr
