"""Who may import whom (`LAYERS`), held by walking the syntax trees, lazy imports included."""

import ast
from pathlib import Path

import pytest

from tests.command_line import python

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "animatediff_ext"

HOSTS = {"modules", "gradio", "fastapi", "ldm", "sgm", "scripts", "launch", "k_diffusion"}
SPATIAL = {"diffusers", "transformers"}
LAYERS = {  # package or file → what of ours it may import
    "setting": set(),
    "params": {"setting"},
    "whole_file": set(),
    "held": {"whole_file"},
    "out_of_memory": set(),
    "toml": set(),
    "complain": set(),
    "listener": set(),
    "infotext": {"setting", "params"},
    "schema": {"setting", "params"},
    "motion": {"setting", "params"},
    "context": {"setting", "params"},
    "travel": {"setting", "params"},
    "noise": {"setting", "params"},
    "media": {"setting", "params", "whole_file"},
    "formats": {"setting", "params", "motion", "whole_file", "held", "out_of_memory"},
    "inject": {"setting", "params", "motion"},
    "catalogue": {"formats", "complain", "whole_file", "held"},
}
ENGINE = {"direct", "motion_loras", "animate"}
BELOW = {*LAYERS, *ENGINE, "save"}
LAYERS |= {
    **{name: {*LAYERS, *ENGINE} for name in ENGINE},
    "save": {*LAYERS},
    "webui": BELOW,
    "standalone": BELOW,
    "trainer": {*BELOW, "standalone"},
    "toy": {*BELOW, "standalone", "trainer"},
    "__main__": {*BELOW, "standalone", "trainer", "toy"},
    "__init__": set(),
}
WITHOUT_TORCH = {"params", "setting", "whole_file", "out_of_memory", "toml", "complain", "listener", "catalogue"}
L4_WITH_SPATIAL_MODELS = {"standalone", "trainer", "toy"}


def imported(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} if not node.level else {"(relative)"}
    return names


def violations(path: Path, owner: str) -> list[str]:
    """What a file of the package or module ``owner`` imports although it may not."""
    allowed = {owner, "__version__", *LAYERS[owner]}
    found = []
    for name in imported(path):
        root, _, rest = name.partition(".")
        forbidden = (
            name == "(relative)"
            or (root in HOSTS and owner != "webui")
            or (root in SPATIAL and owner not in L4_WITH_SPATIAL_MODELS)
            or (root == "torch" and owner in WITHOUT_TORCH)
            or (root == "animatediff_ext" and rest and rest.split(".")[0] not in allowed)
        )
        if forbidden:
            found.append(name)
    return found


def owner_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_file_imports_only_what_its_layer_may(path):
    assert not violations(path, owner_of(path))


@pytest.mark.parametrize(
    ("owner", "line"),
    [
        ("motion", "def f():\n    from modules import shared"),
        ("inject", "import gradio as gr"),
        ("context", "from animatediff_ext.motion import MotionModel"),
        ("formats", "from animatediff_ext import inject"),
        ("animate", "from animatediff_ext.webui import host"),
        ("webui", "from animatediff_ext.trainer import loop"),
        ("webui", "import diffusers"),
        ("params", "import torch"),
        ("catalogue", "def f():\n    from animatediff_ext.webui import models"),
        ("motion", "from . import layers"),
    ],
)
def test_the_guard_can_fail(tmp_path, owner, line):
    path = tmp_path / "bad.py"
    path.write_text(line)
    assert violations(path, owner)


def test_the_door_has_no_logic():
    tree = ast.parse((ROOT / "scripts" / "animatediff.py").read_text(encoding="utf-8"))
    kinds = [type(node).__name__ for node in tree.body]
    assert kinds == ["ImportFrom", "Expr"]  # the import, and the call that registers


def test_importing_everything_below_the_hosts_has_no_effect():
    """No file, thread, or patch; nothing of a host or a spatial model, no media library."""
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in PACKAGE.rglob("*.py")
        if owner_of(path) in BELOW
    ]
    code = f"""
import builtins, importlib, sys, threading
import torch, einops, numpy, PIL.Image, safetensors.torch
before, linear = threading.active_count(), torch.nn.Linear.forward
for name in {names!r}:
    importlib.import_module(name)
assert threading.active_count() == before and torch.nn.Linear.forward is linear
print(*sorted({{"av", "diffusers", "transformers", "gradio", "modules", "huggingface_hub"}} & set(sys.modules)))
"""
    done = python("-c", code)
    assert done.stdout.strip() == ""
