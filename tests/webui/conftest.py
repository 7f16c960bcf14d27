"""The extension inside a miniature of the WebUI (``host``), new for each test."""

import gc
import importlib
import sys
import tempfile
from functools import cache

import pytest
import torch

from animatediff_ext.formats import load_motion_module, save_motion_module
from tests.models.motion import motion_config, random_motion
from tests.webui import host as stub
from tests.webui.browser import chromium
from tests.webui.guided import WithControlNet, folder_of
from tests.webui.host.weights import give_back


@pytest.fixture(scope="session")
def motion_modules(tmp_path_factory):
    """A folder with motion modules for the host's small checkpoints, and one for another kind."""
    folder = tmp_path_factory.mktemp("motion_modules")
    for name, family, widths in (
        ("v2", "v2", (32, 32)),
        ("v1", "v1", (32, 32)),
        ("other layout", "v2", (32, 64)),
    ):
        motion = random_motion(motion_config(family, widths=widths, per_level=1))
        save_motion_module(motion, folder / f"{name}.safetensors", dtype=torch.float32)
    return folder


@pytest.fixture(autouse=True, scope="package")
def _quick(tmp_path_factory):
    """Each test imports the host anew: keep it compiled, and spare the garbage collector all of torch and gradio.
    The models are so small that threads only cost."""
    for slow in ("gradio", "av", "animatediff_ext.media"):
        importlib.import_module(slow)
    before = sys.pycache_prefix, sys.dont_write_bytecode, torch.get_num_threads()
    sys.pycache_prefix, sys.dont_write_bytecode = str(tmp_path_factory.mktemp("pycache")), False
    torch.set_num_threads(1)
    gc.freeze()
    yield
    gc.unfreeze()
    sys.pycache_prefix, sys.dont_write_bytecode = before[:2]
    torch.set_num_threads(before[2])


@pytest.fixture
def stub_modules(monkeypatch):
    """The stub package ``modules`` can be imported, and is forgotten afterwards with all that was imported from it."""
    monkeypatch.syspath_prepend(stub.MODULES)
    stub.forget_the_host()
    yield
    stub.forget_the_host()


@cache
def _read(path, _modified):
    return load_motion_module(path)


@pytest.fixture
def host(stub_modules, motion_modules, tmp_path, monkeypatch):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    host = stub.Host(tmp_path / "outputs", motion_modules)
    monkeypatch.setattr(host.webui("models"), "load_motion_module", lambda path: _read(path, path.stat().st_mtime_ns))
    host.output.mkdir()
    host.shared.config_filename = str(tmp_path / "config.json")
    host.temporary = temporary
    model = host.shared.sd_model
    yield host
    give_back(model.model.diffusion_model, model.sd_checkpoint_info.widths)
    assert [problem for problem in host.errors.reports if "of another script" not in str(problem)] == []


@pytest.fixture
def cn(host, monkeypatch):
    """The same with ControlNet beside it."""
    extension = importlib.import_module("tests.webui.host.controlnet")
    cn = WithControlNet(host, extension, extension.install(host, monkeypatch))
    yield cn
    if cn.script.latest_network is None:
        cn.nothing_stays()


@pytest.fixture
def frames(tmp_path):
    """A folder with twelve pictures, each of which says its number."""
    return folder_of(tmp_path / "frames", range(12))


@pytest.fixture
def browser(tmp_path):
    with chromium(tmp_path / "profile") as browser:
        yield browser


@pytest.fixture
def unchanged(host):
    """The host's model and settings are exactly as they were, and a plain still comes out bit by bit the same."""
    still = host.still()
    model = host.shared.sd_model
    before, data = stub.fingerprint(model), dict(host.opts.data)
    yield
    assert stub.fingerprint(model) == before  # before the host makes anything anew
    assert host.opts.data == data
    assert set(vars(host.opts)) == {"data", "data_labels"}
    assert host.still() == still
    assert host.shared.sd_model is model
    assert stub.fingerprint(model) == before
