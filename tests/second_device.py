"""A second device, for what a GPU would refuse: an operation on tensors of two devices.

What lies on it lies in main memory all the same and is computed there, so results are those of the CPU. So machines
without a GPU see what stays behind when the rest moves. PyTorch keeps such a device until a process ends: tests use it
through `processes`, in one of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

NAME = "second"
_ATEN = torch.ops.aten
_LIBRARY = torch.library.Library("aten", "IMPL")
_TAKE_PLACES_FROM_ANYWHERE = {  # as on a GPU: indices may lie on the CPU
    _ATEN.index.Tensor,
    _ATEN.index_put.default,
    _ATEN.index_put_.default,
    _ATEN._index_put_impl_.default,
}


class MixedDevicesError(RuntimeError):
    """Tensors of two devices in one operation."""


@contextmanager
def processes() -> Iterator[Callable]:
    """Lend ``run(function, *arguments)``, which calls a function of a test module where there is the second device."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_register) as pool:
        yield lambda function, *arguments: pool.submit(_within, function, arguments).result()


def _register() -> None:
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    torch.set_num_threads(1)
    _setup_privateuseone_for_python_backend(NAME)
    # `torch.tensor` and indices in brackets come past all modes.
    _LIBRARY.impl("empty_strided", _empty, "PrivateUse1")
    _LIBRARY.impl("copy_", _filled, "PrivateUse1")


def _empty(size, stride, dtype=None, **_how) -> _Far:
    return _Far(torch.empty_strided(size, stride, dtype=dtype))


def _filled(tensor: _Far, source: torch.Tensor, _non_blocking: bool = False) -> _Far:
    tensor.near.copy_(source)
    return tensor


def _within(function: Callable, arguments: tuple):
    with _Operations():
        return function(*arguments)


class _Far(torch.Tensor):
    """A tensor of the second device; ``near`` is the one that it is computed with."""

    near: torch.Tensor

    @staticmethod
    def __new__(cls, near: torch.Tensor) -> _Far:
        facts = {"strides": near.stride(), "storage_offset": near.storage_offset(), "dtype": near.dtype}
        far = torch.Tensor._make_wrapper_subclass(cls, near.size(), device=torch.device(NAME, 0), **facts)
        far.near = near
        return far

    def __repr__(self) -> str:
        return f"on the second device: {self.near}"

    def tolist(self) -> list:
        return self.near.tolist()

    def numpy(self, **_how):
        raise TypeError("can't convert a tensor of the second device to numpy: use Tensor.cpu() first.")

    def __reduce_ex__(self, protocol):
        return self.near.__reduce_ex__(protocol)  # files are read with map_location="cpu"

    @classmethod
    def __torch_dispatch__(cls, function, _types, arguments=(), named=None):
        return _computed(function, arguments, named or {})


class _Operations(TorchDispatchMode):
    """Operations that make tensors where there was none on the device yet."""

    def __torch_dispatch__(self, function, _types, arguments=(), named=None):
        return _computed(function, arguments, named or {})


def _computed(function, arguments: tuple, named: dict):
    goes_far = named.get("device") is not None and torch.device(named["device"]).type == NAME
    tensors = [leaf for leaf in tree_leaves((arguments, named)) if isinstance(leaf, torch.Tensor)]
    is_far = any(isinstance(tensor, _Far) for tensor in tensors)
    if not goes_far and not is_far:
        return function(*arguments, **named)
    if function is _ATEN._fused_sdp_choice.default:
        return 0  # plain products: fused attention has a kernel for each kind of device
    near_arguments, near_named = tree_map_only(_Far, lambda far: far.near, (arguments, named))
    if goes_far:
        near_named = near_named | {"device": torch.device("cpu")}
    if function is _ATEN._to_copy.default:
        copy = function(*near_arguments, **near_named)
        return _Far(copy) if goes_far or (is_far and named.get("device") is None) else copy
    if function is _ATEN.copy_.default:
        function(*near_arguments, **near_named)
        return arguments[0]
    checked = [arguments[0], *arguments[2:3]] if function in _TAKE_PLACES_FROM_ANYWHERE else tensors
    left = [tensor for tensor in checked if isinstance(tensor, torch.Tensor) and not isinstance(tensor, _Far)]
    if any(tensor.ndim for tensor in left):  # single numbers may come from anywhere
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in left)
        raise MixedDevicesError(f"{function} has tensors of {shapes} on the CPU among others of the second device.")
    answer = tree_map_only(torch.Tensor, _Far, function(*near_arguments, **near_named))
    return return_and_correct_aliasing(function, arguments, named, answer)
