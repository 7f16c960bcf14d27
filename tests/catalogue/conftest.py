import time
from types import SimpleNamespace

import pytest
from huggingface_hub import constants, file_download
from huggingface_hub.utils import _http

from animatediff_ext.catalogue import KnownFile
from animatediff_ext.formats import describe
from tests.catalogue import hub as local
from tests.formats.building import weights, write
from tests.models.motion import motion_config, random_motion

CHUNK = 1 << 14


@pytest.fixture
def hub(monkeypatch):
    """The library was imported long ago, with the address that it had then."""
    with local.served() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        point_to(hub.url, monkeypatch)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
        # it tries again for 23 seconds before it says that nobody answers
        monkeypatch.setattr(_http, "time", SimpleNamespace(**vars(time) | {"sleep": lambda seconds: None}))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        yield hub


def point_to(url, monkeypatch):
    """Let the library look for files at this address."""
    for module in (constants, file_download):
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture(scope="session")
def module_bytes(tmp_path_factory):
    """A small motion module of family v3, as a file."""
    folder = tmp_path_factory.mktemp("module")
    content = file_of("v3", folder)
    describe(folder / "m.safetensors")  # what is imported at the first look is imported here, and in no thread
    return content


def file_of(family, folder):
    motion = random_motion(motion_config(family, widths=(32, 32, 32, 32), per_level=1))
    return write(folder / "m.safetensors", weights(motion)).read_bytes()


@pytest.fixture
def known(hub, module_bytes):
    """A file of the list that the hub has."""
    hub.files["someone/some-modules/sub/mm_test.safetensors"] = module_bytes
    return KnownFile(
        repo="someone/some-modules",
        path="sub/mm_test.safetensors",
        kind="motion-module",
        family="v3",
        size_bytes=len(module_bytes),
        sha256=hub.sha256("someone/some-modules/sub/mm_test.safetensors"),
        use="tests",
    )
