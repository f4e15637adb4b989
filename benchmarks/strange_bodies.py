"""Bodies that no client would send, and some that it almost would, for the endpoints of HTTP.

Drawn from a plain generator, so that 10^5 of them take seconds and a seed repeats them.
"""

import json
import random
import string
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from constellation.wire.http import bodies
from constellation.wire.http.route_bodies import RouteRequest

GOOD: Mapping[str, Mapping[str, Any]] = {
    "/v1/chat/completions": {
        "model": "constellation",
        "messages": [{"role": "user", "content": "a b"}],
        "max_tokens": 1,
    },
    "/v1/completions": {"model": "constellation", "prompt": "a b", "max_tokens": 1},
    "/v1/embeddings": {"model": "constellation", "input": "a b"},
    "/v1/route": {"input": "a b"},
}
"""A body that every endpoint answers; strange ones are made from it."""

FIELDS: Mapping[str, Iterable[str]] = {
    "/v1/chat/completions": bodies.ChatRequest.model_fields,
    "/v1/completions": bodies.CompletionRequest.model_fields,
    "/v1/embeddings": bodies.EmbeddingsRequest.model_fields,
    "/v1/route": RouteRequest.model_fields,
}

_SCALARS = (
    *(None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e-320, 1e308, 2**31, 2**63, -(2**70), 10**400),
    *(
        "",
        "a",
        "constellation",
        "python",
        "nobody",
        "user",
        "text",
        "auto",
        "\ud800",
        "\0",
        "é" * 50,
    ),
)
_CHARACTERS = string.printable + "\0\u00e9\u4e2d\U0001f600\ud800\u202e"


def strange_requests(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield `count` paths with bodies: bytes, JSON, and good bodies with fields changed."""
    chance = random.Random(seed)
    for _ in range(count):
        path = chance.choice(sorted(GOOD))
        kind = chance.random()
        if kind < 0.1:
            yield path, chance.randbytes(chance.randrange(60))
        elif kind < 0.2:
            yield path, json.dumps(_value(chance, 4)).encode()
        else:
            data = json.dumps(_changed(chance, path)).encode()
            yield path, _damaged(chance, data) if kind < 0.3 else data


def _changed(chance: random.Random, path: str) -> dict[str, Any]:
    body = dict(GOOD[path])
    names = sorted(FIELDS[path])
    for _ in range(chance.randrange(4)):
        name = chance.choice(names) if chance.random() < 0.9 else _text(chance)
        body[name] = _likely(chance) if chance.random() < 0.4 else _value(chance, 3)
    if "messages" in body and chance.random() < 0.3:
        body["messages"] = [_message(chance) for _ in range(chance.randrange(4))]
    if chance.random() < 0.1:
        del body[chance.choice(sorted(body))]
    return body


def _likely(chance: random.Random) -> Any:
    """Return what some field may hold."""
    return chance.choice(
        (
            None,
            True,
            False,
            1,
            0.5,
            7,
            "stop",
            ["a", "b"],
            {"5": 1},
            {},
            [],
            {"include_usage": True},
        )
    )


def _message(chance: random.Random) -> Any:
    if chance.random() < 0.2:
        return _value(chance, 2)
    role = chance.choice(("user", "assistant", "system", "developer", "tool"))
    parts = [{"type": "text", "text": _text(chance)}, _value(chance, 2)]
    content = chance.choice((_text(chance), parts[:1], parts, _value(chance, 1)))
    return {"role": role, "content": content}


def _value(chance: random.Random, depth: int) -> Any:
    kind = chance.random()
    if depth and kind < 0.2:
        return [_value(chance, depth - 1) for _ in range(chance.randrange(4))]
    if depth and kind < 0.4:
        return {_text(chance): _value(chance, depth - 1) for _ in range(chance.randrange(4))}
    return _text(chance) if kind < 0.55 else chance.choice(_SCALARS)


def _text(chance: random.Random) -> str:
    return "".join(chance.choices(_CHARACTERS, k=chance.randrange(12)))


def _damaged(chance: random.Random, data: bytes) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + chance.randbytes(chance.randrange(3)) + data[place + 1 :]
