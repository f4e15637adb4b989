"""Both clients behind one face, so that every test of behaviour runs on both."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest

from constellation import settings
from constellation.client import AsyncClient, AsyncStream, Client, RetryPolicy
from tests.wire.fakes import Served

QUICK = RetryPolicy(attempts_max=5, delay_first_s=0.001, delay_max_s=0.01)
"""Tries again as often as the tests need, without their having to wait."""

MakeClient = Callable[..., Any]


class Blocking:
    """Drives an `AsyncClient` or `AsyncStream` from code that is not asynchronous."""

    def __init__(self, runner: asyncio.Runner, inner: Any) -> None:
        self._runner = runner
        self._inner = inner

    def _run(self, work: Any) -> Any:
        async def wait() -> Any:
            return await work

        return self._runner.run(wait())

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value):
            return value

        def call(*arguments: Any, **options: Any) -> Any:
            result = value(*arguments, **options)
            if isinstance(result, AsyncStream):
                return Blocking(self._runner, result)
            return self._run(result) if asyncio.iscoroutine(result) else result

        return call

    def __enter__(self) -> Self:
        self._run(self._inner.__aenter__())
        return self

    def __exit__(self, *details: Any) -> None:
        self._run(self._inner.__aexit__(*details))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            return self._run(self._inner.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None


@pytest.fixture(autouse=True)
def no_token_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(settings.TOKEN_VARIABLE, raising=False)


@pytest.fixture
def served() -> Iterator[Served]:
    with Served() as served:
        yield served


@pytest.fixture(params=["Client", "AsyncClient"])
def make_client(request: pytest.FixtureRequest) -> Iterator[MakeClient]:
    """Makes clients of one kind; closes them at the end."""
    made: list[Any] = []
    with asyncio.Runner() as runner:

        def make(endpoint: str, **options: Any) -> Any:
            options.setdefault("retries", QUICK)
            if request.param == "Client":
                made.append(Client(endpoint, **options))
            else:
                made.append(Blocking(runner, AsyncClient(endpoint, **options)))
            return made[-1]

        yield make
        for client in made:
            client.close()


@pytest.fixture
def stars(served: Served, make_client: MakeClient) -> Any:
    return make_client(served.endpoint)
