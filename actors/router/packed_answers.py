"""Answers packed into single blocks of bytes, as a router keeps them for repeated requests.

A route and a hundred replies are two hundred objects. Thousands of such answers that are kept and
dropped fragment the memory: a router's memory grew by 1.5 MB a minute although no more was kept.
One block for each answer does not, and the size of a block is known to the byte. The blocks are
msgpack: packing takes a third of protobuf's time, and every answer is packed.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

import msgpack

from constellation.records import Choice, Mode, Route, Rule, TokenInfluence

Pair = tuple[Route | None, bytes]
"""The route, None in all pairs but the first, and a serialised KernelGenerateReply."""


def _getter(record: type) -> Callable[[Any], tuple[Any, ...]]:
    return attrgetter(*(each.name for each in fields(record)))


_PARTS = {"choices": Choice, "influences": TokenInfluence}
_FIELDS = tuple(each.name for each in fields(Route) if each.name not in _PARTS)
_read_route = attrgetter(*_FIELDS)
_read_part = {name: _getter(record) for name, record in _PARTS.items()}


def pack(pairs: Sequence[Pair]) -> bytes:
    """Return an answer as one block."""
    route = pairs[0][0] if pairs else None
    replies = [reply for _, reply in pairs]
    packed: bytes = msgpack.packb((None if route is None else _flat(route), replies))
    return packed


def unpack(block: bytes) -> tuple[Pair, ...]:
    """Return the answer that was packed into a block."""
    flat, replies = msgpack.unpackb(block)
    first = None if flat is None else _route(*flat)
    return tuple((first if place == 0 else None, reply) for place, reply in enumerate(replies))


def _flat(route: Route) -> tuple[Any, ...]:
    parts = (tuple(map(read, getattr(route, name))) for name, read in _read_part.items())
    return _read_route(route), *parts


def _route(values: list[Any], *parts: list[Any]) -> Route:
    facts = dict(zip(_FIELDS, values, strict=True))
    facts |= {"rule": Rule(facts["rule"]), "mode": Mode(facts["mode"])}
    for (name, record), rows in zip(_PARTS.items(), parts, strict=True):
        names = [each.name for each in fields(record)]
        facts[name] = tuple(record(**dict(zip(names, row, strict=True))) for row in rows)
    return Route(**facts)
