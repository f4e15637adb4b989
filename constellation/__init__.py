"""Constellation: many small language models trained, hosted and served as one.

Importing this package is light: no torch, no Ray, no gRPC. Names load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from constellation.client import AsyncClient, AsyncDirectClient, Client, DirectClient

__all__ = ["AsyncClient", "AsyncDirectClient", "Client", "DirectClient"]

_HOME = dict.fromkeys(__all__, "constellation.client")


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
