"""Files that are damaged, dangerous, or no model at all."""

import hashlib
import json
import os
import pickle
import struct
import tarfile
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from animatediff_ext.formats import FormatError, container, describe, load_motion_module, sha256
from tests.formats.building import assert_equal, toy, weights, write

# Damaged pickles name protocols that PyTorch has never heard of.
pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")

READERS = {"load": load_motion_module, "describe": describe}


def says(path, *words):
    """Loading and describing both refuse the file, in words that have all of these."""
    for read in READERS.values():
        with pytest.raises(FormatError) as refusal:
            read(path)
        text = str(refusal.value)
        assert refusal.value.path.name in text
        for word in words:
            assert word.lower() in text.lower(), text
        assert "\n" not in text


def test_a_missing_file(tmp_path):
    says(tmp_path / "mm.ckpt", "mm.ckpt is not there", str(tmp_path))


@pytest.mark.parametrize("ending", ["ckpt", "safetensors"])
def test_an_empty_file(ending, tmp_path):
    path = tmp_path / f"mm.{ending}"
    path.touch()
    says(path, "empty", "download it again")


@pytest.mark.parametrize("ending", ["ckpt", "safetensors"])
@pytest.mark.parametrize("page", [b"<!DOCTYPE html><html>", b"\n <html lang=en>", b"\xef\xbb\xbf<?xml version='1'?>"])
def test_a_web_page(ending, page, tmp_path):
    path = tmp_path / f"mm.{ending}"
    path.write_bytes(page + b"<body>Sign in" * 50)
    says(path, "web page", "download the model itself")


@pytest.mark.parametrize("ending", ["ckpt", "safetensors"])
def test_a_git_lfs_pointer(ending, tmp_path):
    path = tmp_path / f"mm.{ending}"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1671515423\n")
    says(path, "Git LFS pointer", "git lfs pull")


def test_text_under_the_name_of_a_model(tmp_path):
    path = tmp_path / "mm.ckpt"
    path.write_text("Repository not found")
    says(path, "neither a safetensors nor a PyTorch file")


def test_a_zip_archive_with_the_model_inside(tmp_path):
    with zipfile.ZipFile(tmp_path / "mm.ckpt", "w") as archive:
        archive.writestr("mm_sd_v15.ckpt", b"...")
    says(tmp_path / "mm.ckpt", "ZIP archive", "unpack")


@pytest.fixture(scope="module", params=["safetensors", "zip", "pickle"])
def whole(request, tmp_path_factory):
    """A good file of each container, as bytes."""
    path = tmp_path_factory.mktemp("whole") / ("mm.safetensors" if request.param == "safetensors" else "mm.ckpt")
    state = weights(toy("v1"))
    if request.param == "safetensors":
        write(path, state)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=request.param == "zip")
    return path


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_a_download_that_stopped_is_cut_short(whole, share, tmp_path):
    content = whole.read_bytes()
    path = tmp_path / whole.name
    path.write_bytes(content[: int(len(content) * share)])
    says(path, "cut short", f"{path.stat().st_size:,} bytes", "download it again")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_never_read_nor_a_crash(whole, share, tmp_path):
    content = whole.read_bytes()
    path = tmp_path / whole.name
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(FormatError):
        describe(path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04", b"\x10" + b"\0" * 7 + b"{"]), rest=st.binary()
)
def test_bytes_of_any_kind_are_never_a_crash(start, rest, tmp_path):
    path = tmp_path / "mm.ckpt"
    path.write_bytes(start + rest)
    with pytest.raises(FormatError):
        load_motion_module(path)


@pytest.mark.parametrize("first_bytes", [b"\x80", b"PK"])
def test_a_header_whose_length_looks_like_another_format_is_read(first_bytes, tmp_path):
    state, path = weights(toy("v1")), tmp_path / "mm.safetensors"
    shortest = struct.unpack("<Q", write(path, state, {"note": ""}).read_bytes()[:8])[0]
    wanted = next(n for n in range(shortest, shortest + 70_000, 8) if struct.pack("<Q", n).startswith(first_bytes))
    write(path, state, {"note": "x" * (wanted - shortest)})
    assert path.read_bytes().startswith(first_bytes)
    assert set(describe(path).metadata) == {"note"}


NO_MEMORY = [
    MemoryError(),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (OSError(5, "Input/output error"), "cannot be read: Input/output error."),
        (OSError("The paging file is too small (os error 1455)"), "The paging file is too small"),
        *((problem, "more memory") for problem in NO_MEMORY),
    ],
)
def test_what_the_system_refuses_is_not_called_damaged(whole, problem, reason, monkeypatch):
    def refuse(*_arguments, **_how):
        raise problem

    monkeypatch.setattr(torch.serialization, "load", refuse)
    monkeypatch.setattr(container, "safe_open", refuse)
    with pytest.raises(FormatError) as refusal:
        load_motion_module(whole)
    assert reason in str(refusal.value)
    assert "damaged" not in str(refusal.value)


def test_a_file_that_cannot_be_mapped_is_read(whole, monkeypatch):
    """What PyTorch says on Windows with a small page file, and on file systems that know no mapping."""
    load, ways = torch.serialization.load, []

    def unmapped(*arguments, **how):
        ways.append(how.get("mmap", False))
        if ways[-1]:
            raise RuntimeError("Couldn't open file mapping: <mm.ckpt>, error code: <1455>")
        return load(*arguments, **how)

    monkeypatch.setattr(torch.serialization, "load", unmapped)
    assert_equal(load_motion_module(whole).state_dict(), weights(toy("v1")))
    assert not any(ways[1:])


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (OSError(5, "Input/output error"), "cannot be read: Input/output error."),
        (RuntimeError("unable to mmap 8 bytes from file <mm>: No such device (19)\nat c10"), "No such device"),
        (RuntimeError("Couldn't open file mapping: <mm>, error code: <1455>"), "more memory"),
    ],
)
def test_a_problem_that_comes_with_the_weights_is_a_sentence(problem, reason, tmp_path, monkeypatch):
    def refuse(*_arguments, **_how):
        raise problem

    file = container.open_file(write(tmp_path / "mm.safetensors", weights(toy("v1"))))
    monkeypatch.setattr(container, "safe_open", refuse)
    with pytest.raises(FormatError, match=r"^mm.safetensors [^\n]*$") as refusal:
        file.read(file.layout)
    assert reason in str(refusal.value)


class Payload:
    """What a malicious file brings: unpickling it calls a function."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_programs_are_refused_and_not_run(tmp_path):
    """PyTorch before 2.6 runs a TorchScript archive that it is told to load weights from, and unpacks a TAR."""
    path = tmp_path / "mm.ckpt"
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(path))
    says(path, "run code", "TorchScript", ".safetensors version")
    name = b"\x80storages".decode(errors="surrogateescape")  # as a pickle begins
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo(name))
    says(path, "run code", "TAR")


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_and_does_not_run(zipped, tmp_path):
    path, trace = tmp_path / "mm.ckpt", tmp_path / "it ran"
    torch.save(weights(toy("v1")) | {"x": Payload(trace)}, path, _use_new_zipfile_serialization=zipped)
    says(path, "run code", "mkdir", ".safetensors version")
    assert not trace.exists()
    plain = tmp_path / "plain.ckpt"
    plain.write_bytes(pickle.dumps(Payload(trace)))
    says(plain)
    assert not trace.exists()


def test_a_checkpoint_that_contains_itself_ends(tmp_path):
    content = {"epoch": 1}
    content["self"] = content
    torch.save(content, tmp_path / "mm.ckpt")
    assert describe(tmp_path / "mm.ckpt").kind == "unknown"


@pytest.mark.parametrize("content", [{}, [torch.zeros(3)], torch.zeros(3), 7])
def test_a_checkpoint_without_named_tensors_is_no_motion_module(content, tmp_path):
    path = write(tmp_path / "mm.ckpt", content)
    with pytest.raises(FormatError, match="not a motion module"):
        load_motion_module(path)


def test_numbers_of_an_unknown_type_are_named(tmp_path):
    header = json.dumps({"a": {"dtype": "F8_E8M0", "shape": [2], "data_offsets": [0, 2]}}).encode()
    path = tmp_path / "mm.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0")
    with pytest.raises(FormatError, match=r"F8_E8M0|damaged"):  # older safetensors do not know the type either
        describe(path)


def test_a_folder_that_is_no_adapter(tmp_path):
    says(tmp_path, "folder", "no diffusers MotionAdapter", "diffusion_pytorch_model.safetensors", "motion_adapter")


@pytest.mark.parametrize(
    ("config", "word"),
    [('{"_class_name": "AutoencoderKL"}', "is a AutoencoderKL"), ("{", "no JSON"), ("[]", "without a diffusers")],
)
def test_a_folder_of_another_model(config, word, tmp_path):
    write(tmp_path / "diffusion_pytorch_model.safetensors", weights(toy("v1")))
    says(tmp_path, "config.json")
    (tmp_path / "config.json").write_text(config)
    says(tmp_path, word)


def test_a_hash_is_of_the_bytes(tmp_path):
    path = write(tmp_path / "mm.safetensors", weights(toy("v1")))
    assert sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_errors_survive_a_trip_between_processes(tmp_path):
    with pytest.raises(FormatError) as refusal:
        describe(tmp_path / "gone.ckpt")
    again = pickle.loads(pickle.dumps(refusal.value))
    assert (str(again), again.path) == (str(refusal.value), refusal.value.path)
