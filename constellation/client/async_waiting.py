"""How an asynchronous client waits; `sync_waiting` is the same for the synchronous clients."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import grpc

from constellation.client.ownership import Owner
from constellation.client.router_endpoints import RouterConnections
from constellation.client.session import Session
from constellation.errors import Cancelled

ResultT = TypeVar("ResultT")


class AsyncWaiting:
    """Waits for calls and pauses in the event loop of a client, until the client is closed."""

    def __init__(self, session: Session, connections: RouterConnections) -> None:
        self._session = session
        self._owner = Owner()
        self._closed = False

    def check(self) -> None:
        """Raise `Cancelled` when the client is closed, `ConfigError` in another event loop."""
        if self._closed:
            raise Cancelled("the client is closed")
        self._owner.check_loop()

    async def result(self, start: Callable[[], Awaitable[ResultT]], endpoint: str) -> ResultT:
        """Return the result of the gRPC call of `start`; errors are typed and name `endpoint`."""
        try:
            return await start()
        except grpc.RpcError as error:
            raise self._session.typed(error, endpoint) from None
        except asyncio.CancelledError:
            # grpc also raises this for a call that was closed here. A task that is itself being
            # cancelled must see its own cancellation.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise Cancelled("the call was closed") from None

    async def pause(self, seconds: float) -> None:
        """Wait before the next try."""
        await asyncio.sleep(seconds)

    async def in_thread(self, work: Callable[[], ResultT]) -> ResultT:
        """Return the result of `work`, which may read files, without blocking the event loop."""
        return await asyncio.to_thread(work)

    def close(self) -> bool:
        """Refuse further calls; say whether the connections can be closed in this event loop.

        The connections of another event loop end with that event loop.
        """
        self._closed = True
        return self._owner.is_here()


class AsyncMessages:
    """The messages of one streamed gRPC call, which is cancelled when nobody holds it any more.

    Args:
        waiting: How the client of the call waits.
        start: Makes the call, when the first message is read.
        endpoint: host:port of the server, named in errors.
    """

    def __init__(self, waiting: AsyncWaiting, start: Callable[[], Any], endpoint: str) -> None:
        self._waiting = waiting
        self._start = start
        self.endpoint = endpoint
        self._call: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __del__(self) -> None:
        # grpc's own tasks hold the call until it ends: a stream that was left by `break` would
        # keep its kernel's slot. A finaliser may run in any thread, hence the detour.
        if self._call is not None and self._loop is not None and not self._loop.is_closed():
            with suppress(RuntimeError):  # closed in between
                self._loop.call_soon_threadsafe(self._call.cancel)

    async def read(self) -> Any:
        """Return the next message; at the end, an object that is no message."""
        self._waiting.check()
        return await self._waiting.result(self._next, self.endpoint)

    def cancel(self) -> None:
        """Cancel the call."""
        if self._call is not None:
            self._call.cancel()

    async def _next(self) -> Any:
        if self._call is None:
            self._loop, self._call = asyncio.get_running_loop(), self._start()
        return await self._call.read()
