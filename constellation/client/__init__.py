"""What users import: a synchronous and an asynchronous client of a running constellation.

Needs neither torch nor Ray. Both clients are thin shells around `requests` (what is sent),
`replies` (what comes back) and `retries` (when to try again), which do no I/O.
"""

from constellation.client.async_client import AsyncClient, AsyncStream
from constellation.client.client import Client, Stream
from constellation.client.replies import (
    ConstellationStatus,
    KernelStatus,
    Reply,
    TextBasin,
    TextScore,
)
from constellation.client.requests import AskOptions, RouteOptions
from constellation.client.retries import RetryPolicy, Timeouts

__all__ = [
    "AskOptions",
    "AsyncClient",
    "AsyncStream",
    "Client",
    "ConstellationStatus",
    "KernelStatus",
    "Reply",
    "RetryPolicy",
    "RouteOptions",
    "Stream",
    "TextBasin",
    "TextScore",
    "Timeouts",
]
