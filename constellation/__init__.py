"""Constellation: train, host and serve many small language models as one routed service.

Importing this package is cheap: no torch, no Ray, no gRPC. The four client classes are imported on
first use.
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
