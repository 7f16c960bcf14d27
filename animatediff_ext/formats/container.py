"""From bytes on disk to named tensors: safetensors, PyTorch files, diffusers folders.

The content decides what a file is, not its ending: people rename files. Nothing here knows what the tensors mean.
"""

from __future__ import annotations

import json
import pickle
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from animatediff_ext.formats.error import FormatError
from animatediff_ext.out_of_memory import is_out_of_memory

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class TensorFile:
    """A file of tensors that has been looked at, not read."""

    path: Path
    """The file with the weights, also where a folder was asked for."""
    layout: Tensors
    """Every tensor's shape and dtype by name. Do not compute with these: they are on the meta device, or mapped."""
    read: Callable[[Iterable[str]], Tensors]
    """Reads the tensors of these names, onto the CPU. They may be mapped: while they are there, Windows lets nobody
    replace the file. Raises `FormatError`."""
    metadata: dict[str, str] = field(default_factory=dict)
    """The header of a safetensors file."""
    config: dict[str, Any] = field(default_factory=dict)
    """``config.json`` of a diffusers folder."""


WEIGHTS_OF_FOLDER = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.fp16.bin",
)
"""The names that diffusers gives, the best first."""

# UNetMotionModel is diffusers' whole video UNet: its motion modules have the names of a MotionAdapter.
_CLASSES_WITH_MOTION = ("MotionAdapter", "UNetMotionModel")


def open_file(path: str | Path) -> TensorFile:
    """Looks at a ``.safetensors``, a PyTorch file of any ending, or a diffusers MotionAdapter folder.

    Raises `FormatError` where there is nothing to read: missing, empty, cut short, a web page, code in a pickle … Where
    the file may be whole and the system refuses it, the message has the system's reason.
    """
    path = Path(path)
    with _explained(path):
        weights, config = _resolve(path)
        return _OPENERS[_container(weights)](weights, config)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FormatError.about(path, f"cannot be read: {error.strerror or error}.") from error
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            problem = "needs more memory to be read than is free: close other programs, or allow a larger page file."
        else:
            problem = f"cannot be read: {str(error).partition(chr(10))[0]}"
        raise FormatError.about(path, problem) from error


def _resolve(path: Path) -> tuple[Path, dict[str, Any]]:
    """The file with the weights, and what diffusers wrote about it."""
    if path.is_dir():
        return _weights_of_folder(path), _config_of_folder(path)
    if not path.exists():
        raise FormatError.about(path, f"is not there: {path.absolute().parent} has no file or folder of this name.")
    if path.name in WEIGHTS_OF_FOLDER and (path.parent / "config.json").is_file():
        return path, _config_of_folder(path.parent)
    return path, {}


def _weights_of_folder(folder: Path) -> Path:
    found = [folder / name for name in WEIGHTS_OF_FOLDER if (folder / name).is_file()]
    if found:
        return found[0]
    raise FormatError.about(
        folder,
        f"is a folder that is no diffusers MotionAdapter: it has none of {', '.join(WEIGHTS_OF_FOLDER)}. "
        "Give one file, or the folder of the adapter itself (in a pipeline: motion_adapter).",
    )


def _config_of_folder(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        config = None
    except ValueError as error:
        raise FormatError.about(folder, f"has a config.json that is no JSON ({error}): download it again.") from error
    kind = config.get("_class_name") if isinstance(config, dict) else None
    if kind not in _CLASSES_WITH_MOTION:
        what = f"a {kind}" if kind else "a folder without a diffusers config.json"
        raise FormatError.about(folder, f"is {what}, not a MotionAdapter: give the adapter's folder or its file.")
    return config


def _container(path: Path) -> str:
    """``safetensors``, ``zip`` (PyTorch since 1.6) or ``pickle`` (PyTorch before), by the first bytes."""
    with path.open("rb") as stream:
        head = stream.read(512)
    if not head:
        raise FormatError.about(path, "is empty (0 bytes): the download failed, download it again.")
    if head.startswith(b"version https://git-lfs"):
        raise FormatError.about(
            path,
            "is a Git LFS pointer: a few lines that stand for the model. "
            "Run `git lfs pull`, or download the file itself.",
        )
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        raise FormatError.about(
            path,
            "is a web page (HTML) under the name of a model. Download the model itself; some sites want a login first.",
        )
    # First, since its first bytes are a length, which may happen to begin as the other two do.
    if head[5:9] == b"\0\0\0{":  # eight bytes, little end first, then JSON
        return "safetensors"
    if head.startswith(b"PK"):
        return "zip"
    if head.startswith(b"\x80"):
        return "pickle"
    raise FormatError.about(
        path,
        f"is neither a safetensors nor a PyTorch file, or is cut short ({path.stat().st_size:,} bytes are there): "
        "download it again.",
    )


def _cut_short(path: Path) -> FormatError:
    return FormatError.about(
        path, f"is cut short or damaged ({path.stat().st_size:,} bytes are there): download it again."
    )


# The names of the safetensors format (https://github.com/huggingface/safetensors#format).
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def _open_safetensors(path: Path, config: dict[str, Any]) -> TensorFile:
    try:
        with safe_open(str(path), framework="pt") as stream:
            slices = {name: stream.get_slice(name) for name in stream.keys()}  # noqa: SIM118 - not a mapping
            layout = {name: _meta_tensor(path, part) for name, part in slices.items()}
            metadata = stream.metadata() or {}
    except SafetensorError as error:
        raise _cut_short(path) from error

    def read(names: Iterable[str]) -> Tensors:
        try:
            with _explained(path), safe_open(str(path), framework="pt", device="cpu") as stream:
                return {name: stream.get_tensor(name) for name in names}
        except SafetensorError as error:
            raise _cut_short(path) from error

    return TensorFile(path=path, layout=layout, read=read, metadata=metadata, config=config)


def _meta_tensor(path: Path, part) -> torch.Tensor:
    dtype = _DTYPES.get(part.get_dtype())
    if dtype is None:
        raise FormatError.about(path, f"holds numbers of type {part.get_dtype()}; get a version in F16, BF16 or F32.")
    return torch.empty(part.get_shape(), dtype=dtype, device="meta")


def _open_zip(path: Path, config: dict[str, Any]) -> TensorFile:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except zipfile.BadZipFile as error:  # the table of contents is at the end, so a cut always hits it
        raise _cut_short(path) from error
    if not any(name.endswith("/data.pkl") for name in members):
        raise FormatError.about(path, "is a ZIP archive, not a model: unpack it and use the file that is inside.")
    if _is_program(path):
        raise _runs_code(path, "a TorchScript program")
    return _open_torch(path, config, mmap=True)


def _is_program(path: Path) -> bool:
    """Before PyTorch 2.6, ``torch.load`` runs such archives whatever ``weights_only`` says (CVE-2025-32434). Its own
    reader is asked, as it does itself: another one may find other members in an archive that was made for that."""
    try:
        with path.open("rb") as stream:
            return "constants.pkl" in torch._C.PyTorchFileReader(stream).get_all_records()
    except RuntimeError as error:
        raise _cut_short(path) from error


def _open_pickle(path: Path, config: dict[str, Any]) -> TensorFile:
    if tarfile.is_tarfile(path):  # PyTorch before 1.0 wrote these, and unpacks them into a folder
        raise _runs_code(path, "a TAR archive")
    return _open_torch(path, config, mmap=False)  # PyTorch maps its ZIP files only


def _open_torch(path: Path, config: dict[str, Any], *, mmap: bool) -> TensorFile:
    try:
        content = _unpickle(path, mmap)
    except Exception as error:  # a damaged pickle can raise anything
        if isinstance(error, OSError) or is_out_of_memory(error):
            raise  # the file may be whole
        raise _refused(path, error) from error
    tensors = _flatten(content)

    def read(names: Iterable[str]) -> Tensors:
        return {name: tensors[name] for name in names}

    return TensorFile(path=path, layout=tensors, read=read, config=config)


def _unpickle(path: Path, mmap: bool) -> Any:
    # Not `torch.load`: the WebUI puts its own function there, which prints errors and returns None.
    load = torch.serialization.load
    if path.suffix == ".safetensors":  # PyTorch goes by the ending, and this one is wrong
        with path.open("rb") as stream:
            return load(stream, map_location="cpu", weights_only=True)
    try:
        return load(str(path), map_location="cpu", weights_only=True, mmap=mmap)
    except RuntimeError:
        if not mmap:
            raise
        # Some file systems cannot map, nor can Windows where its page file is small (error 1455); reading goes on.
        return load(str(path), map_location="cpu", weights_only=True, mmap=False)


def _refused(path: Path, error: Exception) -> FormatError:
    # A ZIP that opens is whole, so the unpickler stopped at something that is no tensor.
    if not isinstance(error, pickle.UnpicklingError) or not (
        "unsupported" in str(error).lower() or zipfile.is_zipfile(path)
    ):
        return _cut_short(path)
    # "Unsupported global: GLOBAL a.b …", "unsupported GLOBAL a.b …" (torch 2.13), "Unsupported class a.b" (torch 2.1)
    culprit = re.search(r"(?:GLOBAL|class) ([A-Za-z_][\w.]*)", str(error))
    return _runs_code(path, culprit[1] if culprit else "an object that is no tensor")


def _runs_code(path: Path, what: str) -> FormatError:
    return FormatError.about(
        path,
        f"wants to run code while it is read ({what}), so it was not opened. Get a .safetensors version of this model.",
    )


def _flatten(content: Any, prefix: str = "", depth: int = 0) -> Tensors:
    """All tensors in nested dictionaries, their keys joined by dots: checkpoints wrap weights in ``state_dict`` etc."""
    flat: Tensors = {}
    if not isinstance(content, dict) or depth > 6:  # a pickle can contain itself
        return flat
    for key, value in content.items():
        if isinstance(value, torch.Tensor):
            flat[f"{prefix}{key}"] = value
        else:
            flat |= _flatten(value, f"{prefix}{key}.", depth + 1)
    return flat


_OPENERS: dict[str, Callable[[Path, dict[str, Any]], TensorFile]] = {
    "safetensors": _open_safetensors,
    "zip": _open_zip,
    "pickle": _open_pickle,
}
