"""A device of Python's own, to find mistakes about devices on a machine without a GPU.

The numbers of a far tensor lie in a tensor of the CPU. The far tensor says that they are elsewhere,
refuses operators together with tensors of the CPU, and counts what is moved in and out. Speed and
memory are not those of any real device.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

NAME = "far"
_MOVES = ("aten::_to_copy", "aten::copy_")


@dataclass
class Crossings:
    """How often numbers were moved between the CPU and the far device."""

    into: int = 0
    out: int = 0


class FarTensor(Tensor):
    """A tensor on the far device."""

    near: Tensor
    """Its numbers."""

    @staticmethod
    def __new__(cls, near: Tensor) -> "FarTensor":
        made = Tensor._make_wrapper_subclass(
            cls,
            near.size(),
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            device=torch.device(NAME, 0),
        )
        made.near = near
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"FarTensor({tuple(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(cls, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{function}: used outside of the block that made the device")


class _Operators(TorchDispatchMode):
    """Computes every operator on the near tensors."""

    def __init__(self, crossings: Crossings) -> None:
        super().__init__()
        self._crossings = crossings

    def __torch_dispatch__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = function._schema.name
        tensors = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, Tensor)]
        far = [each for each in tensors if isinstance(each, FarTensor)]
        # A number without dimensions is a constant, which goes along with the order to compute.
        mixed = any(each.ndim for each in tensors if not isinstance(each, FarTensor))
        if far and mixed and name not in _MOVES:
            raise RuntimeError(f"{name}: tensors of two devices")
        device = kwargs.get("device")
        to_far = bool(far) if device is None else _is_far(device)
        self._count(name, args, bool(far), to_far, device)
        if device is not None:
            kwargs = kwargs | {"device": torch.device("cpu")}
        result = function(*tree_map(_near, args), **tree_map(_near, kwargs))
        if function._schema.is_mutable and isinstance(args[0], Tensor):
            return kwargs.get("out", args[0])
        return tree_map(_far, result) if to_far else result

    def _count(self, name: str, args: Any, has_far: bool, to_far: bool, device: Any) -> None:
        moved = self._crossings
        if name == "aten::copy_":
            into, out_of = (isinstance(each, FarTensor) for each in args[:2])
            moved.into += into and not out_of
            moved.out += out_of and not into
        elif name == "aten::_to_copy" and device is not None:
            moved.into += to_far and not has_far
            moved.out += has_far and not to_far
        elif name == "aten::_local_scalar_dense":
            moved.out += has_far


class _Calls(TorchFunctionMode):
    """What torch does without an operator: it makes tensors of lists, and lists of tensors."""

    def __init__(self, crossings: Crossings) -> None:
        super().__init__()
        self._crossings = crossings

    def __torch_function__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        far = bool(args) and isinstance(args[0], FarTensor)
        if function is torch.tensor and _is_far(kwargs.get("device")):
            self._crossings.into += 1
            return FarTensor(torch.tensor(*args, **(kwargs | {"device": "cpu"})))
        if far and function is Tensor.new_tensor:
            self._crossings.into += 1
            return FarTensor(args[0].near.new_tensor(*args[1:], **kwargs))
        if far and function is Tensor.tolist:
            self._crossings.out += 1
            return args[0].near.tolist()
        if far and function in (Tensor.numpy, Tensor.__array__):
            raise TypeError("numpy reads tensors of the CPU only")
        return function(*args, **kwargs)


@contextmanager
def far_device() -> Iterator[Crossings]:
    """Use the far device within the block; skips the test where torch cannot have such a device."""
    _register()
    crossings = Crossings()
    with ExitStack() as stack:
        # Wrapped tensors keep no count of versions in inference mode.
        stack.enter_context(patch.object(torch.inference_mode, "__enter__", _no_grad_begins))
        stack.enter_context(patch.object(torch.inference_mode, "__exit__", _no_grad_ends))
        stack.enter_context(_Calls(crossings))
        stack.enter_context(_Operators(crossings))
        yield crossings


def moved(module: Any) -> Any:
    """Move a module's tensors to the far device, tied ones once; return the module."""
    known: dict[int, nn.Parameter] = {}
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                if id(parameter) not in known:
                    near = parameter.detach().clone()
                    known[id(parameter)] = nn.Parameter(FarTensor(near), requires_grad=False)
                part._parameters[name] = known[id(parameter)]
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = FarTensor(buffer.clone())
    return module


@cache
def _register() -> None:
    register: Callable[..., None] | None = getattr(
        backend_registration, "_setup_privateuseone_for_python_backend", None
    )
    if register is None:
        pytest.skip(f"torch {torch.__version__} has no devices of Python's own")
    register(NAME)
    # Automatic mixed precision asks every device which formats it has.
    torch.far.get_amp_supported_dtype = lambda: [torch.bfloat16]  # type: ignore[attr-defined]


def _no_grad_begins(self: Any) -> None:
    self.far_guard = torch.no_grad()
    self.far_guard.__enter__()


def _no_grad_ends(self: Any, *_: Any) -> None:
    self.far_guard.__exit__(None, None, None)


def _is_far(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


def _near(value: Any) -> Any:
    return value.near if isinstance(value, FarTensor) else value


def _far(value: Any) -> Any:
    return FarTensor(value) if isinstance(value, Tensor) else value
