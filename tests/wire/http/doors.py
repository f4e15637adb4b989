"""A real HTTP server over the fake router, in a thread with a loop of its own. Use with `with`."""

import asyncio
import http.client
import json
import ssl
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from constellation.wire.access_log import AccessLog
from constellation.wire.channel import Bind
from constellation.wire.http.gateway import Gateway
from constellation.wire.http.server import HttpDoor
from constellation.wire.services import Guard
from tests.wire.fakes import FakeRouter


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: Any
    """Decoded, where it is JSON."""
    headers: dict[str, str]
    """Names in lower case."""


class Door:
    """The server and what it is made of."""

    def __init__(
        self,
        bind: Bind | None = None,
        *,
        stall_s: float = 20.0,
        connections_max: int = 64,
        log: Path | None = None,
        prompts: bool = False,
        router: FakeRouter | None = None,
        streams_max: int = 64,
    ) -> None:
        self.stall_s = stall_s
        self._bind = bind or Bind()
        self._connections_max = connections_max
        self._streams_max = streams_max
        self.router = router or FakeRouter()
        self._log = None if log is None else AccessLog(log, prompts=prompts)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.endpoint = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self.run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Any) -> Any:
        """Run a coroutine in the server's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    def soon(self, function: Any, *arguments: Any) -> None:
        """Run a function in the server's loop."""
        self._loop.call_soon_threadsafe(function, *arguments)

    def wait_until_idle(self) -> None:
        """Wait until no connection is open."""
        while self.door.num_connections:
            self.run(asyncio.sleep(0))

    def stop(self) -> None:
        """Stop the server."""
        self.run(self.door.stop(grace_s=1))

    def start_again(self) -> None:
        """Start a new server on the same port."""
        self._bind = replace(self._bind, port=self.address[1])
        self.run(self._start())

    async def _start(self) -> None:
        self.guard = Guard(lambda reason: self.router.rejected.update([reason]), log=self._log)
        self.gateway = Gateway(
            self.router, self.guard, stall_s=self.stall_s, streams_max=self._streams_max
        )
        self.door = HttpDoor(
            self.gateway, self.guard, self._bind, connections_max=self._connections_max
        )
        self.endpoint = await self.door.start()

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.endpoint.rpartition(":")
        return host.strip("[]"), int(port)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> Answer:
        """Make one request; a body that is no bytes is sent as JSON."""
        sent = dict(headers or {})
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        if data is not None and "content-type" not in map(str.lower, sent):
            sent.setdefault("Content-Type", "application/json")
        if context is None:
            connection = http.client.HTTPConnection(*self.address, timeout=10)
        else:
            connection = http.client.HTTPSConnection(*self.address, timeout=10, context=context)
        try:
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        got = {name.lower(): value for name, value in response.getheaders()}
        is_json = bool(content) and got.get("content-type", "").startswith("application/json")
        return Answer(response.status, json.loads(content) if is_json else content, got)
