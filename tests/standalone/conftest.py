"""Tiny image models on disk, once for all tests; and no network for any of them."""

import socket

import pytest

from animatediff_ext.standalone import load_spatial_model
from tests.models.spatial import write_file, write_folder

BASES = ("SD 1.5", "SDXL")


@pytest.fixture(autouse=True)
def connections(monkeypatch):
    """Every attempt to reach the network: it fails, and is in this list."""
    attempts = []

    def refuse(*address, **_):
        attempts.append(address)
        raise OSError("there is no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)
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
