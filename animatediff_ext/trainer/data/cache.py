"""Latents and text embeddings on disk, each entry in a file that is named by all that it depends on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from animatediff_ext.trainer.data.take import Take
from animatediff_ext.whole_file import whole_file

_VERSIONS = {"latents": 1, "text": 2}
"""Of what entries hold and of how they are made. Older entries are not found."""
_DTYPES = {"float16": torch.float16, "float32": torch.float32}

Tensors = dict[str, torch.Tensor]


def latents_key(take: Take, vae_fingerprint: str) -> str:
    """Of the latents of a take. Goes stale with the clip's file, its frames, size or mirroring, and the VAE."""
    size = (take.bucket.width, take.bucket.height)
    return _digest("latents", take.clip.identity(), take.frames, size, take.flip, vae_fingerprint)


def text_key(caption: str, text_fingerprint: str, clip_skip: int) -> str:
    """Of the embeddings of a caption. Goes stale with the caption, the text encoder and the layers left out."""
    return _digest("text", caption, text_fingerprint, clip_skip)


class TensorCache:
    """Tensors by key. Several processes may use one folder: entries appear whole, and equal keys have equal entries."""

    def __init__(self, folder: str | Path, dtype: str):
        """``folder`` "": a cache that never has anything. ``dtype``: float16 or float32, of floats in the files."""
        self._folder = Path(folder) if str(folder) else None
        self._dtype = dtype
        self.problem = ""
        """Why nothing more is put, in a sentence."""
        assert dtype in _DTYPES

    def get(self, key: str) -> Tensors | None:
        """The entry, in the cache's number format. None if it is missing or damaged: then it is to be put anew."""
        if self._folder is None:
            return None
        try:
            # Not mapped into memory: Windows cannot replace a file that is.
            return load(self._path(key).read_bytes())
        except (OSError, SafetensorError, ValueError):
            return None

    def put(self, key: str, tensors: Tensors) -> Tensors:
        """Write the entry, and return it as `get` will: a run must not depend on whether an entry was there before.

        Once that has failed nothing more is written, and `problem` says why: a run that has no cache is only slower.
        """
        if self._folder is None:
            return tensors
        stored = {name: self._stored(tensor) for name, tensor in tensors.items()}
        if not self.problem:
            self._write(key, save(stored))
        return stored

    def _write(self, key: str, content: bytes) -> None:
        try:
            with whole_file(self._path(key)) as part:
                part.write_bytes(content)
        except OSError as error:
            if self.get(key) is None:  # on Windows another process may have the same entry open
                self.problem = (
                    f"cache.folder {self._folder} takes no more ({error.strerror or error}), and the run goes on with "
                    "what is there: make room, or choose another folder."
                )

    def _stored(self, tensor: torch.Tensor) -> torch.Tensor:
        wanted = _DTYPES[self._dtype] if tensor.is_floating_point() else tensor.dtype
        return tensor.detach().to("cpu", wanted).contiguous()

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}-{self._dtype}.safetensors"


def _digest(kind: str, *parts: object) -> str:
    return hashlib.blake2b(repr((_VERSIONS[kind], kind, *parts)).encode(), digest_size=20).hexdigest()
