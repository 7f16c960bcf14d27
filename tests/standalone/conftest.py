"""Tiny image models on disk, once for all tests; and no network for any of them."""

import socket

import pytest
import torch

from animatediff_ext.formats import save_motion_module
from animatediff_ext.standalone import clip, load_spatial_model
from tests.models.motion import motion_config, random_motion
from tests.models.spatial import WIDTHS, write_file, write_folder
from tests.standalone.generating import SMALL

BASES = ("SD 1.5", "SDXL")


@pytest.fixture(autouse=True)
def connections(monkeypatch):
    """Every attempt to reach the network: it fails, and is in this list."""
    attempts = []

    def refuse(*address, **_):
        attempts.append(address)
        raise OSError("there is no network in tests")

    connect = socket.socket.connect

    def within_the_machine(this, address):
        return connect(this, address) if this.family == getattr(socket, "AF_UNIX", None) else refuse(address)

    monkeypatch.setattr(socket.socket, "connect", within_the_machine)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return attempts


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folder and single file of the same weights, by base."""
    root = tmp_path_factory.mktemp("models")
    return {
        base: (write_folder(root / f"{base} folder", base), write_file(root / f"{base} file.safetensors", base))
        for base in BASES
    }


@pytest.fixture(scope="session")
def loaded(models):
    """The same models, loaded from their files. Tests share them: do not change them."""
    return {base: load_spatial_model(file) for base, (_, file) in models.items()}


@pytest.fixture(params=BASES)
def spatial(request, loaded):
    return loaded[request.param]


@pytest.fixture(scope="session")
def motion_file(tmp_path_factory):
    """A motion module for SD 1.5, with one in the middle block."""
    path = tmp_path_factory.mktemp("motion") / "mm.safetensors"
    save_motion_module(random_motion(motion_config("v2", widths=WIDTHS["SD 1.5"], num_positions=16)), path)
    return path


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

    monkeypatch.setattr(clip, "sample", sample)
    return seen
