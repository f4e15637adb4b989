"""Calls that switch processes to another release end, also when a process never answers."""

import asyncio
from typing import Any

import pytest

from actors.registry import reload
from actors.spec import Announcement
from constellation.errors import ReloadRefused

ANNOUNCED = Announcement(
    member="kernels-1", endpoint="h:1", metrics_endpoint="h:2", pid=1, node="n"
)


async def never() -> Any:
    await asyncio.Event().wait()


class Process:
    """A process of kernels, or a router, that answers at once."""

    def __init__(self) -> None:
        self.did: list[str] = []

    async def load_next(self, release: int) -> None:
        self.did.append("load")

    async def take_next(self, release: int) -> Announcement:
        self.did.append("take")
        return ANNOUNCED

    async def forget_next(self) -> None:
        self.did.append("forget")

    async def prepare(self, table: object) -> None:
        self.did.append("prepare")


class Hanging(Process):
    """A process whose disk does not answer."""

    def load_next(self, release: int) -> Any:
        return never()

    def take_next(self, release: int) -> Any:
        return never()

    def forget_next(self) -> Any:
        return never()

    def prepare(self, table: object) -> Any:
        return never()


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "LOAD_S", 0.05)
    monkeypatch.setattr(reload, "PREPARE_S", 0.05)


def test_a_process_that_never_loads_is_named_and_the_others_drop_what_they_loaded() -> None:
    well: Any = Process()
    processes: dict[str, Any] = {"kernels-1": well, "kernels-2": Hanging()}
    with pytest.raises(ReloadRefused, match="kernels-2 did not load its kernels within 0 s"):
        asyncio.run(reload.load_beside(processes, 7))
    assert well.did == ["load", "forget"]


def test_a_release_is_taken_by_those_that_answer() -> None:
    processes: dict[str, Any] = {"kernels-1": Process(), "kernels-2": Hanging()}
    assert asyncio.run(reload.take(processes, 7)) == [ANNOUNCED]


def test_a_router_that_never_reads_the_coordizer_is_named() -> None:
    routers: dict[str, Any] = {"router": Process(), "router-2": Hanging()}
    table: Any = None
    with pytest.raises(ReloadRefused, match="router-2 did not load the coordizer within 0 s"):
        asyncio.run(reload.prepare_routers(routers, table))
