"""What users import: a synchronous and an asynchronous client of a running constellation.

Needs neither torch nor Ray. All clients are thin shells around `requests` (what is sent),
`replies` (what comes back) and `retries` (when to try again), which do no I/O.
"""

from constellation.client.async_client import AsyncClient, AsyncStream
from constellation.client.async_direct import AsyncDirectClient
from constellation.client.client import Client, Stream
from constellation.client.direct import DirectClient
from constellation.client.replies import (
    ConstellationStatus,
    KernelStatus,
    Reply,
    RouterStatus,
    TextBasin,
    TextScore,
)
from constellation.client.requests import AskOptions, RouteOptions
from constellation.client.retries import RetryPolicy, Timeouts

__all__ = [
    "AskOptions",
    "AsyncClient",
    "AsyncDirectClient",
    "AsyncStream",
    "Client",
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
