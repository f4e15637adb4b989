"""A client in a place that it does not belong to: a typed error, and no crash or silence."""

import asyncio
import copy
import os
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from constellation import AsyncClient, AsyncDirectClient, Client, DirectClient
from constellation.errors import ConfigError
from tests.actors.test_hosts import Letters
from tests.wire.fakes import Served

COPIES = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": pickle.dumps}


@pytest.mark.parametrize("make_copy", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("kind", [Client, DirectClient])
def test_clients_and_their_streams_are_not_copied(
    served: Served, kind: Any, make_copy: Callable[[Any], Any]
) -> None:
    more = [Letters()] if kind is DirectClient else []
    with kind(served.endpoint, *more) as stars:
        for each in (stars, stars.stream("a")):
            with pytest.raises(ConfigError, match=f"a {type(each).__name__} holds connections"):
                make_copy(each)


@pytest.mark.parametrize("make_copy", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("kind", [AsyncClient, AsyncDirectClient])
def test_asynchronous_clients_and_their_streams_are_not_copied(
    served: Served, kind: Any, make_copy: Callable[[Any], Any]
) -> None:
    more = [Letters()] if kind is AsyncDirectClient else []
    stars = kind(served.endpoint, *more)
    for each in (stars, stars.stream("a")):
        with pytest.raises(ConfigError, match=f"a {type(each).__name__} holds connections"):
            make_copy(each)


def test_a_second_event_loop_is_refused_by_a_typed_error(served: Served) -> None:
    stars = AsyncClient(served.endpoint)
    stream = stars.stream("a b")

    async def begin() -> None:
        await stars.ask("a")
        await anext(stream)

    asyncio.run(begin())
    for use in (
        lambda: stars.ask("a"),
        stars.status,
        stars.healthy,
        lambda: anext(stars.stream("a")),
        lambda: anext(stream),
    ):
        with pytest.raises(ConfigError, match="event loop"):
            asyncio.run(_awaited(use))
    asyncio.run(stars.close())


async def _awaited(use: Callable[[], Any]) -> Any:
    return await use()


def test_a_process_that_was_forked_from_the_owner_is_refused_by_a_typed_error(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(served.endpoint) as stars:
        monkeypatch.setattr(os, "getpid", lambda: -1)  # as a forked process sees it
        for call in (stars.ask, stars.route, stars.stream):
            with pytest.raises(ConfigError, match="make one in each process"):
                list(call("a"))
        monkeypatch.undo()
        assert stars.ask("a").text == "a"
