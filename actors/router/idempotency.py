"""Idempotency: a request that is sent again gets the answer of the first, and no second one."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager

from actors.router.packed_answers import Pair, pack, unpack
from constellation.records import Route
from constellation.runtime.idempotency import Repeats
from constellation.wire.callers import Caller

_Key = tuple[str, str]

ENTRY_BYTES = 600
"""Memory that a kept answer takes beside its own bytes."""


class IdempotentAnswers:
    """Keeps answers by client and request id; a request without an id is always answered anew."""

    def __init__(self) -> None:
        self._store: Repeats[bytes] = Repeats()
        self._over: dict[_Key, asyncio.Event] = {}  # requests under way that repeats wait for

    async def stream(
        self, caller: Caller, work: Callable[[], AsyncGenerator[Pair, None]]
    ) -> AsyncGenerator[Pair, None]:
        """Stream the answer that `work` makes, or the answer to an earlier request of the same id.

        Raises:
            InvalidRequest: The earlier request had other contents.
        """
        key = _key(caller)
        earlier = None if key is None else await self._earlier(key, caller.fingerprint)
        if earlier is not None:
            for pair in earlier:
                yield pair
            return
        with self._collecting(key, caller.fingerprint) as pairs:
            async with aclosing(work()) as answer:
                async for pair in answer:
                    pairs.append(pair)
                    yield pair

    async def whole(
        self, caller: Caller, work: Callable[[], Awaitable[tuple[Route, bytes]]]
    ) -> tuple[Route, bytes]:
        """Return the answer that `work` makes, or the one to an earlier request of the same id.

        Raises:
            InvalidRequest: The earlier request had other contents.
        """
        key = _key(caller)
        if key is None:
            return await work()
        earlier = await self._earlier(key, caller.fingerprint)
        if earlier is not None:
            ((route, reply),) = earlier
            assert route is not None
            return route, reply
        with self._collecting(key, caller.fingerprint) as pairs:
            answer = await work()
            pairs.append(answer)
        return answer

    async def _earlier(self, key: _Key, fingerprint: bytes) -> tuple[Pair, ...] | None:
        """Wait for an earlier request of the same id; return its answer, None if there is none."""
        while True:
            kept = self._store.find(key, fingerprint, now_s=time.monotonic())
            if kept is not None:
                return unpack(kept.answer)
            if not self._store.is_running(key):
                return None
            await self._over.setdefault(key, asyncio.Event()).wait()

    @contextmanager
    def _collecting(self, key: _Key | None, fingerprint: bytes) -> Iterator[list[Pair]]:
        """Collect the pairs of an answer, and keep the answer when it is complete."""
        pairs: list[Pair] = []
        if key is None:
            yield pairs
            return
        self._store.begin(key, fingerprint)
        try:
            yield pairs
            block = pack(pairs)
            size = ENTRY_BYTES + len(block)
            self._store.finish(key, block, size_bytes=size, now_s=time.monotonic())
        finally:
            self._store.give_up(key)
            if (over := self._over.pop(key, None)) is not None:
                over.set()


def _key(caller: Caller) -> _Key | None:
    return None if caller.request_id is None else (caller.client, caller.request_id)
