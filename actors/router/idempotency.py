"""Has every request answered once: its repeats wait for the first, or get what it got."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import fields
from operator import attrgetter
from typing import Any

import msgpack

from constellation.records import Choice, Mode, Route, Rule, TokenInfluence
from constellation.runtime.idempotency import Repeats
from constellation.wire.callers import Caller

Pair = tuple[Route | None, bytes]
"""The route, in the first pair of an answer only, and a serialised KernelGenerateReply."""
_Key = tuple[str, str]

_NAMES: dict[type, list[str]] = {
    kind: [each.name for each in fields(kind)] for kind in (Route, Choice, TokenInfluence)
}
_VALUES = {kind: attrgetter(*names) for kind, names in _NAMES.items()}

ENTRY_BYTES = 600
"""What an answer takes beside its own bytes."""


class Repeating:
    """Keeps answers by client and request id; requests without an id pass through."""

    def __init__(self) -> None:
        self._store: Repeats[bytes] = Repeats()
        self._over: dict[_Key, asyncio.Event] = {}  # of those under way that others wait for

    async def stream(
        self, caller: Caller, work: Callable[[], AsyncGenerator[Pair, None]]
    ) -> AsyncGenerator[Pair, None]:
        """Answer by `work`, or as an earlier request with the same id was answered.

        Raises:
            InvalidRequest: The earlier request asked something else.
        """
        key = _key(caller)
        earlier = None if key is None else await self._earlier(key, caller.fingerprint)
        if earlier is not None:
            for pair in earlier:
                yield pair
            return
        with self._answering(key, caller.fingerprint) as pairs:
            async with aclosing(work()) as answer:
                async for pair in answer:
                    pairs.append(pair)
                    yield pair

    async def once(
        self, caller: Caller, work: Callable[[], Awaitable[tuple[Route, bytes]]]
    ) -> tuple[Route, bytes]:
        """The same for an answer in one piece."""
        key = _key(caller)
        if key is None:
            return await work()
        earlier = await self._earlier(key, caller.fingerprint)
        if earlier is not None:
            ((route, reply),) = earlier
            assert route is not None
            return route, reply
        with self._answering(key, caller.fingerprint) as pairs:
            answer = await work()
            pairs.append(answer)
        return answer

    async def _earlier(self, key: _Key, fingerprint: bytes) -> tuple[Pair, ...] | None:
        """Return what an earlier request got, when it is over; None when this is the first."""
        while True:
            kept = self._store.find(key, fingerprint, now_s=time.monotonic())
            if kept is not None:
                return unpack(kept.answer)
            if not self._store.is_running(key):
                return None
            await self._over.setdefault(key, asyncio.Event()).wait()

    @contextmanager
    def _answering(self, key: _Key | None, fingerprint: bytes) -> Iterator[list[Pair]]:
        """Gather the pairs of an answer, and keep it if it comes to its end."""
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


def pack(pairs: Sequence[Pair]) -> bytes:
    """Return an answer as one block of bytes, which is how a router keeps it.

    A route and a hundred replies are two hundred objects. Thousands of such answers that come and
    go leave holes between them that nothing else fits in: a router's memory grew by 1.5 MB a
    minute, with as much kept as before. One block for each leaves none, and its size is known to
    the byte. Packing delays every answer, and protobuf takes three times as long as msgpack.
    """
    route = pairs[0][0] if pairs else None
    replies = [reply for _, reply in pairs]
    packed: bytes = msgpack.packb((route, replies), default=lambda each: _VALUES[type(each)](each))
    return packed


def unpack(block: bytes) -> tuple[Pair, ...]:
    """Return the answer that `pack` made a block of."""
    values, replies = msgpack.unpackb(block)
    first = None if values is None else _route(values)
    return tuple((first if place == 0 else None, reply) for place, reply in enumerate(replies))


def _route(values: Sequence[Any]) -> Route:
    facts = _facts(Route, values)
    facts |= {"rule": Rule(facts["rule"]), "mode": Mode(facts["mode"])}
    for name, kind in (("choices", Choice), ("influences", TokenInfluence)):
        facts[name] = tuple(kind(**_facts(kind, row)) for row in facts[name])
    return Route(**facts)


def _facts(kind: type, values: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(_NAMES[kind], values, strict=True))
