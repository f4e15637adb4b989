"""Clients of a running constellation: synchronous and asynchronous, by a router or direct.

The clients need neither torch nor Ray. `requests` (the messages), `replies` and `retries` decide
and do no input or output; `async_client` and `async_direct` make the calls, and the synchronous
`client` and `direct` are generated from these two.
"""

from constellation.client.async_client import AsyncClient, AsyncStream
from constellation.client.async_direct import AsyncDirectClient
from constellation.client.client import Client, Stream
from constellation.client.direct import DirectClient
from constellation.client.replies import (
    ConstellationStatus,
    KernelStatus,
    Reply,
    TextBasin,
    TextScore,
)
from constellation.client.requests import AskOptions, RouteOptions
from constellation.client.retries import RetryPolicy, Timeouts
from constellation.client.session import ClientOptions
from constellation.records import RouterStatus

__all__ = [
    "AskOptions",
    "AsyncClient",
    "AsyncDirectClient",
    "AsyncStream",
    "Client",
    "ClientOptions",
    "ConstellationStatus",
    "DirectClient",
    "KernelStatus",
    "Reply",
    "RetryPolicy",
    "RouteOptions",
    "RouterStatus",
    "Stream",
    "TextBasin",
    "TextScore",
    "Timeouts",
]
