"""Installation, and the one file that the WebUI runs."""

import importlib.util
import runpy
import sys
from pathlib import Path
from types import ModuleType

import gradio as gr
import pytest

from tests.command_line import python
from tests.webui.host import MODULES

ROOT = Path(__file__).parents[2]


def installed(monkeypatch, absent: set[str]) -> list[str]:
    """What install.py asks of the host where these packages cannot be imported."""
    commands = []
    launch = ModuleType("launch")
    launch.run_pip = lambda command, _description: commands.append(command)
    monkeypatch.setitem(sys.modules, "launch", launch)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else find_spec(name))
    runpy.run_path(str(ROOT / "install.py"))
    return commands


def test_nothing_is_installed_where_all_is_there(monkeypatch):
    assert installed(monkeypatch, set()) == []


def test_what_is_missing_is_installed_and_nothing_else_changes(monkeypatch):
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert [line.split(">=")[0] for line in lines] == ["av"]
    (command,) = installed(monkeypatch, {"av"})
    assert "--no-deps" in command
    assert lines[0] in command


@pytest.mark.usefixtures("stub_modules")
def test_the_door_registers_the_script_and_its_callbacks():
    namespace = runpy.run_path(str(ROOT / "scripts" / "animatediff.py"))
    scripts, callbacks = (importlib.import_module(f"modules.{name}") for name in ("scripts", "script_callbacks"))
    (script,) = [value for value in namespace.values() if isinstance(value, type) and issubclass(value, scripts.Script)]
    assert script().title() == "AnimateDiff"
    assert script().show(False) is scripts.AlwaysVisible
    runpy.run_path(str(ROOT / "scripts" / "animatediff.py"))
    assert all(len(found) == len(set(found)) > 0 for found in callbacks.callback_map.values())
    assert [len(found) for name, found in callbacks.callback_map.items() if name != "before_ui"] == [1] * 5


@pytest.mark.usefixtures("stub_modules")
def test_a_webui_that_is_too_old_gets_a_word_and_no_traceback(monkeypatch):
    """Up to 1.7 it lacks names that we import; 1.8 and 1.9 lack a hook."""
    scripts, callbacks = (importlib.import_module(f"modules.{name}") for name in ("scripts", "script_callbacks"))
    monkeypatch.delattr(scripts.Script, "process_before_every_sampling")
    monkeypatch.setitem(sys.modules, "modules.infotext_utils", None)
    script = runpy.run_path(str(ROOT / "scripts" / "animatediff.py"))["AnimateDiffScript"]()
    assert not any(callbacks.callback_map.values())
    assert script.show(False) is scripts.AlwaysVisible
    assert script.title().lower() != "animatediff", "the API refuses a request that names a script it has not"
    with gr.Blocks() as blocks:
        assert script.ui(False) is None
    assert any("needs WebUI 1.10" in str(getattr(block, "value", "")) for block in blocks.blocks.values())


def test_the_door_loads_no_heavy_package():
    """They would delay the start of the WebUI, or are not there."""
    heavy = ["diffusers", "transformers", "av", "imageio", "cv2", "scipy", "animatediff_ext.standalone"]
    program = f"""
import sys, torch, gradio
sys.path[:0] = [{str(MODULES)!r}, {str(ROOT)!r}]
before = set(sys.modules)
import runpy
runpy.run_path({str(ROOT / "scripts" / "animatediff.py")!r})
print(*sorted(set({heavy!r}) & (set(sys.modules) - before)))
"""
    done = python("-c", program, cwd="/")
    assert done.stdout.split() == []
