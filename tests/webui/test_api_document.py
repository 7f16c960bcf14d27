"""The requests in docs/api.md run as they stand, against the WebUI in miniature."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI

from tests.webui.api import Api, served
from tests.webui.host import picture

DOCUMENT = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:7860"
TIMEOUT_S = 60


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def address(host, motion_modules, tmp_path, monkeypatch):
    """A server with the motion module that the page names, and its picture in the current folder."""
    folder, work = tmp_path / "modules", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    shutil.copy(motion_modules / "v2.safetensors", folder / "mm_sd15_v3.safetensors")
    host.opts.data["animatediff_model_path"] = str(folder)
    monkeypatch.chdir(work)
    picture().save("cat.png")
    with served(Api(host, FastAPI()).app) as address:
        yield address
    assert host.files() == [], "no request of the page asks for anything to be saved"


def test_python(address, host, capsys):
    """One after the other, as a reader would try them."""
    program = "\n".join(blocks("python"))
    assert ADDRESS in program
    names = {"__name__": "docs"}
    exec(compile(program.replace(ADDRESS, address), "docs/api.md", "exec"), names)
    assert Path("cat.mp4").stat().st_size > 100
    assert "fps: 12" in str(names["again"].json()["info"])
    assert "fps | 8 | frames per second | " in capsys.readouterr().out


def test_curl(address):
    commands = blocks("bash")
    assert len(commands) == len([command for command in commands if ADDRESS in command])
    for command in commands:
        command = command.replace(ADDRESS, address).replace("python3 ", f"'{sys.executable}' ")
        done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True, timeout=TIMEOUT_S)
        assert done.returncode == 0, done.stderr
    assert Path("cat.mp4").stat().st_size > 100


@pytest.mark.parametrize("name", ["schema", "motion-modules", "job", "infotext"])
def test_every_route_is_there_in_both(name):
    assert all(any(f"/animatediff/v1/{name}" in block for block in blocks(kind)) for kind in ("bash", "python"))


def test_the_tables_name_what_the_routes_answer(address, host):
    import httpx

    (entry,) = httpx.get(f"{address}/animatediff/v1/motion-modules", timeout=TIMEOUT_S).json()
    tables = [set(re.findall(r"`([a-z_]+)`", "".join(line.split("|")[1] for line in table))) for table in rows()]
    assert tables[0] == set(entry)
    told = {"active", "elapsed_s", *host.webui("job").Job.__dataclass_fields__}
    assert tables[1] == told


def rows() -> list[list[str]]:
    """The lines of each table, without its head."""
    found = re.findall(r"(?:^\|.*\n)+", DOCUMENT, re.MULTILINE)
    return [table.splitlines()[2:] for table in found]
