"""How a synchronous client waits; `async_waiting` is the same for the asynchronous clients."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from constellation.client.router_endpoints import RouterConnections
from constellation.client.session import Session
from constellation.errors import Cancelled

ResultT = TypeVar("ResultT")


class SyncWaiting:
    """Waits for calls and pauses in the thread of the caller, until the client is closed."""

    def __init__(self, session: Session, connections: RouterConnections) -> None:
        self._session = session
        self._closed = threading.Event()
        connections.current()  # raises here what is wrong with TLS files

    def check(self) -> None:
        """Raise `Cancelled` when the client is closed."""
        if self._closed.is_set():
            raise Cancelled("the client is closed")

    def result(self, start: Callable[[], ResultT], endpoint: str) -> ResultT:
        """Return the result of the gRPC call of `start`; errors are typed and name `endpoint`."""
        try:
            return start()
        except grpc.RpcError as error:
            raise self._session.typed(error, endpoint) from None
        except ValueError:
            # What grpc raises for a call on a channel that another thread has just closed.
            if self._closed.is_set():
                raise Cancelled("the client was closed") from None
            raise

    def pause(self, seconds: float) -> None:
        """Wait before the next try; closing the client ends the wait by `Cancelled`."""
        if self._closed.wait(seconds):
            raise Cancelled("the client was closed")

    def in_thread(self, work: Callable[[], ResultT]) -> ResultT:
        """Return the result of `work`, in the caller's own thread."""
        return work()

    def close(self) -> bool:
        """Refuse further calls; the connections can be closed in every thread."""
        self._closed.set()
        return True


class SyncMessages:
    """The messages of one streamed gRPC call, which grpc cancels when nobody holds it any more.

    Args:
        waiting: How the client of the call waits.
        start: Makes the call, when the first message is read.
        endpoint: host:port of the server, named in errors.
    """

    def __init__(self, waiting: SyncWaiting, start: Callable[[], Any], endpoint: str) -> None:
        self._waiting = waiting
        self._start = start
        self.endpoint = endpoint
        self._call: Any = None

    def read(self) -> Any:
        """Return the next message; at the end, an object that is no message."""
        self._waiting.check()
        return self._waiting.result(self._next, self.endpoint)

    def cancel(self) -> None:
        """Cancel the call."""
        if self._call is not None:
            self._call.cancel()

    def _next(self) -> Any:
        if self._call is None:
            self._call = self._start()
        return next(self._call, None)


class SyncTexts:
    """Reads texts of every length at once; the counterpart of `LongTexts`."""

    def __init__(self, owner: str, *, waiting_max: int) -> None:
        """Take the arguments of `LongTexts`, which mean nothing here."""

    def read(
        self, text: str, work: Callable[[], ResultT], *, timeout_s: float, is_slow: bool = False
    ) -> ResultT:
        """Return the result of `work`, which reads `text`."""
        return work()

    def close(self) -> None:
        """Do nothing: no text waits."""
