"""``python -m animatediff_ext models``."""

import json
import subprocess
import sys

import pytest

from animatediff_ext.__main__ import main
from animatediff_ext.catalogue import KNOWN, commands
from animatediff_ext.catalogue import known as list_module
from animatediff_ext.catalogue.places import all_in
from tests.command_line import environment


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "places_of_command_line", lambda: all_in(tmp_path / "model"))
    return tmp_path / "model"


def test_list_names_every_file_and_marks_what_is_there(folder, capsys):
    folder.mkdir()
    (folder / "v3_sd15_mm.ckpt").touch()
    assert main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for file in KNOWN:
        (line,) = [line for line in lines if f" {file.file_name} " in line]
        assert line.startswith("✓") == (file.name == "v3_sd15_mm")
        assert file.family in line
    assert max(map(len, lines)) <= 150


def test_a_listing_goes_into_a_file_of_few_letters(tmp_path):
    """As Windows writes what is redirected."""
    few = environment() | {"PYTHONIOENCODING": "cp1252"}
    command = [sys.executable, "-m", "animatediff_ext", "models", "list"]
    done = subprocess.run(command, env=few, cwd=tmp_path, capture_output=True, check=False, timeout=90)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"? is there; get others with" in done.stdout


def test_list_prints_json(folder, capsys):
    folder.mkdir()
    (folder / "v2_lora_ZoomIn.ckpt").touch()
    assert main(["models", "list", "--json"]) == 0
    facts = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert facts["v2_lora_ZoomIn"]["present"] == str(folder / "v2_lora_ZoomIn.ckpt")
    v2 = facts["mm_sd_v15_v2"]
    assert v2["present"] is None
    assert (v2["repo"], v2["path"], v2["licence"]) == ("guoyww/animatediff", "mm_sd_v15_v2.ckpt", "Apache 2.0")
    assert (v2["size_bytes"], v2["sha256"][:8]) == (1817888431, "69ed0f5f")  # as infotexts have it


def test_list_is_quick():
    code = (
        "import sys; from animatediff_ext.__main__ import main; main(['models', 'list'])\n"
        "print({'torch', 'huggingface_hub', 'gradio'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=30)
    assert done.stdout.endswith("set()\n"), done.stderr


def test_get_puts_a_file_where_it_belongs_and_says_so(hub, known, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(list_module, "KNOWN", (known,))
    assert main(["models", "get", "mm_test"]) == 0
    path = folder / "mm_test.safetensors"
    assert capsys.readouterr().out == f"{path}: fetched; its sha256 is that of the list\n"
    assert path.exists()
    assert main(["models", "get", "mm_test", "mm_*"]) == 0
    assert capsys.readouterr().out == f"{path}: was there; its sha256 is that of the list\n"
    assert main(["models", "get", "mm_test", "--to", str(tmp_path / "elsewhere")]) == 0
    assert (tmp_path / "elsewhere" / "mm_test.safetensors").exists()


def test_get_says_what_is_wrong(hub, known, folder, monkeypatch, capsys):
    assert main(["models", "get", "no such"]) == 2
    assert "There is no 'no such' in the list" in capsys.readouterr().err
    monkeypatch.setattr(list_module, "KNOWN", (known,))
    hub.status = 500
    assert main(["models", "get", "mm_test"]) == 1
    assert "status 500" in capsys.readouterr().err


def test_get_that_is_interrupted_says_that_it_goes_on(hub, known, folder, monkeypatch, capsys):
    monkeypatch.setattr(list_module, "KNOWN", (known,))

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "fetch", interrupted)
    assert main(["models", "get", "mm_test"]) == 130
    assert "goes on from here" in capsys.readouterr().err
