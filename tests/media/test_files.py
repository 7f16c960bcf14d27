"""Whole or not at all."""

import errno
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from animatediff_ext import whole_file
from animatediff_ext.media import ENDINGS, WRITERS, StorageError
from animatediff_ext.media.files import check_writable, new_file, new_folder

from .clips import ALL_FORMATS, VIDEO_FORMATS, LazyClip, names_in

WITH_FRAMES = pytest.mark.parametrize("format", [*VIDEO_FORMATS, "PNG"])


class Fails(Exception):
    pass


def failing_after(num_frames, error):
    yield from LazyClip(num_frames)
    raise error


def content(path):
    if path.is_dir():
        return {file.name: file.read_bytes() for file in path.iterdir()}
    return path.read_bytes()


@WITH_FRAMES
@pytest.mark.parametrize(
    ("num_frames", "error"), [(0, Fails()), (1, KeyboardInterrupt()), (80, Fails()), (80, KeyboardInterrupt())]
)
def test_an_error_midway_leaves_nothing_and_reaches_the_caller(tmp_path, format, num_frames, error):
    with pytest.raises(type(error)):
        WRITERS[format](failing_after(num_frames, error), tmp_path / f"clip{ENDINGS[format]}", fps=8)
    assert names_in(tmp_path) == []


@WITH_FRAMES
def test_an_error_midway_leaves_the_older_file_as_it_was(tmp_path, format):
    path = WRITERS[format](LazyClip(3), tmp_path / f"clip{ENDINGS[format]}", fps=8)
    before = content(path)
    with pytest.raises(Fails):
        WRITERS[format](failing_after(2, Fails()), path, fps=8)
    assert names_in(tmp_path) == [path.name]
    assert content(path) == before


@pytest.mark.parametrize("format", ALL_FORMATS)
def test_an_older_file_is_replaced(tmp_path, format):
    path = tmp_path / f"clip{ENDINGS[format]}"
    WRITERS[format](LazyClip(3), path, fps=8, comment="old")
    before = content(path)
    WRITERS[format](LazyClip(2), path, fps=8, comment="new")
    assert content(path) != before
    assert names_in(tmp_path) == [path.name]


@WITH_FRAMES
def test_while_frames_arrive_there_is_no_file_of_that_name(tmp_path, format):
    path = tmp_path / f"clip{ENDINGS[format]}"

    def watching():
        for frame in LazyClip(3):
            assert not path.exists()
            yield frame

    WRITERS[format](watching(), path, fps=8)
    assert path.exists()


@WITH_FRAMES
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_errors_of_the_disk_become_a_sentence_with_the_path(tmp_path, format, number):
    told = {errno.ENOSPC: "disk is full.*Free some space", errno.EACCES: "may not be written"}[number]
    path = tmp_path / f"clip{ENDINGS[format]}"
    with pytest.raises(StorageError, match=told) as caught:
        WRITERS[format](failing_after(2, OSError(number, os.strerror(number))), path, fps=8)
    assert str(path) in str(caught.value)
    assert names_in(tmp_path) == []


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False, timeout=20).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("a small disk can be mounted only by root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True, timeout=20)


@pytest.mark.parametrize("format", ALL_FORMATS)
def test_a_disk_that_fills_up_is_told_and_left_empty(small_disk, format):
    noise = np.random.default_rng(0)
    frames = [noise.integers(0, 256, (96, 96, 3), dtype=np.uint8) for _ in range(24)]
    with pytest.raises(StorageError, match="disk is full"):
        WRITERS[format](frames, small_disk / f"clip{ENDINGS[format]}", fps=8, comment="é" * 70_000)
    assert names_in(small_disk) == []


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, monkeypatch):
    path = WRITERS["PNG"](LazyClip(2), tmp_path / "clip", fps=8)
    before = content(path)
    real = os.replace

    def replace(source, target):
        if target == path and names_in(source) == ["00000.png"]:
            raise Fails
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(Fails):
        WRITERS["PNG"](LazyClip(1), path, fps=8)
    assert content(path) == before
    assert names_in(tmp_path) == ["clip"]


@pytest.mark.parametrize("format", ["PNG", "TXT"])
def test_what_a_virus_scanner_has_open_is_put_in_place_when_it_lets_go(tmp_path, monkeypatch, format):
    """On Windows, where nothing that is open can be renamed."""
    refusals = [PermissionError(errno.EACCES, "used by another process")] * 2
    real = os.replace

    def replace(source, target):
        if refusals:
            raise refusals.pop()
        real(source, target)

    monkeypatch.setattr(whole_file, "_WAITS", (0, 0))
    monkeypatch.setattr(os, "replace", replace)
    WRITERS[format](LazyClip(1), tmp_path / f"clip{ENDINGS[format]}", fps=8)
    assert names_in(tmp_path) == [f"clip{ENDINGS[format]}"]


def test_a_probe_that_a_virus_scanner_has_open_is_no_reason_to_refuse_a_folder(tmp_path, monkeypatch):
    refusals = [PermissionError(errno.EACCES, "used by another process")] * 2
    real = Path.unlink

    def unlink(path, **how):
        if refusals:
            raise refusals.pop()
        real(path, **how)

    monkeypatch.setattr(whole_file, "_WAITS", (0, 0))
    monkeypatch.setattr(Path, "unlink", unlink)
    check_writable(tmp_path / "new")
    assert names_in(tmp_path / "new") == []


@pytest.mark.parametrize("new", [new_file, new_folder])
def test_the_name_while_writing_is_short_and_legal_everywhere(tmp_path, new):
    name = "n" * 250 + ".mp4"
    with new(tmp_path / name) as part:
        assert part.parent == tmp_path
        assert len(part.name) <= 15  # as the shortest names of the WebUI's videos, where paths are limited
        assert not set(part.name) & set('<>:"/\\|?*')
        if new is new_file:
            part.write_bytes(b"x")
    assert names_in(tmp_path) == [name]


def test_a_mount_without_rights_of_files_costs_no_file(tmp_path, monkeypatch):
    def refuse(_path, _mode):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    assert WRITERS["TXT"](LazyClip(1), tmp_path / "a.txt", fps=8, comment="x").read_text() == "x"


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
@pytest.mark.parametrize("format", ALL_FORMATS)
def test_files_are_readable_as_the_umask_says(tmp_path, format):
    path = WRITERS[format](LazyClip(2), tmp_path / f"clip{ENDINGS[format]}", fps=8)
    plain = tmp_path / "plain"
    plain.mkdir() if path.is_dir() else plain.write_bytes(b"")
    assert path.stat().st_mode == plain.stat().st_mode
