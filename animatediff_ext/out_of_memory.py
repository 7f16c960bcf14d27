"""Whether an error says that memory ran out."""

from __future__ import annotations

_WORDS = (
    "out of memory",  # of the GPU (of MPS too)
    "status_alloc_failed",  # of cuBLAS and cuDNN, which have memory of their own
    "you tried to allocate",  # of PyTorch's allocator
    "can't allocate memory",
    "cannot allocate memory",  # of mapping
    "code: <1455>",  # of mapping on Windows
)


def is_out_of_memory(error: BaseException) -> bool:
    """Of whatever device. PyTorch has an error of its own for CUDA alone, and that is a `RuntimeError`."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(one in words for one in _WORDS))
