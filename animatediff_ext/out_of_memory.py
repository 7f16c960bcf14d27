"""Whether an error says that memory ran out."""

from __future__ import annotations

_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory", "you tried to allocate", "code: <1455>")
"""Of plain errors at run time: of the GPU (of MPS too), of PyTorch's allocator, of mapping, of mapping on Windows."""


def is_out_of_memory(error: BaseException) -> bool:
    """Of whatever device. PyTorch has an error of its own for CUDA alone, and that is a `RuntimeError`."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(one in words for one in _WORDS))
