"""Two routers of one constellation, one of them killed; and clients that do without them."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from cluster.state_file import RunState
from constellation import Client
from constellation.client import ConstellationStatus, DirectClient
from constellation.releases.release_coordizers import ReleasedCoordizers
from tests.serving.load import Load
from tests.support.artifacts import PROMPTS

pytestmark = pytest.mark.ray


def _status_with_all_up(stars: Client, *, not_pid: int = 0) -> ConstellationStatus:
    """Wait until both routers are up, none of them as process `not_pid`."""
    pause, started_s = threading.Event(), time.monotonic()
    while time.monotonic() - started_s < 30:
        status = stars.status()
        pids = {router.pid for router in status.routers}
        if len(pids) == 2 and not pids & {0, not_pid}:
            return status
        pause.wait(0.05)
    raise AssertionError("a router did not come back within 30 s")


def _reach(stars: Client, table_version: int) -> None:
    """Wait until a router has a table at least as new as that of another router.

    A restarted router begins with the table of the run folder, which is written after the table was
    sent to the routers; and the registry may publish a newer table at any time.
    """
    pause, started_s = threading.Event(), time.monotonic()
    while stars.status().table_version < table_version:
        assert time.monotonic() - started_s < 30, "the router did not get the latest table"
        pause.wait(0.05)


def test_a_killed_router_fails_no_request_and_returns_to_its_port(constellation: RunState) -> None:
    first, second = constellation.endpoints
    with Client(second) as other, Load(f"{first},{second}", retries=None) as load:
        before = _status_with_all_up(other)
        old_pid = next(router.pid for router in before.routers if router.endpoint == first)
        while load.outcomes["ok"] < 16:
            threading.Event().wait(0.02)
        os.kill(old_pid, signal.SIGKILL)
        after = _status_with_all_up(other, not_pid=old_pid)
        told = load.outcomes["ok"]
        while load.outcomes["ok"] < told + 16:
            threading.Event().wait(0.02)
    assert load.wrong == []
    assert set(load.outcomes) == {"ok"}
    assert [router.endpoint for router in after.routers] == [first, second]
    with Client(first) as again:
        assert again.ask(PROMPTS["mail"], tokens_max=1).route.kernel == "mail"
        _reach(again, after.table_version)


def test_every_router_has_the_same_table_and_takes_orders(constellation: RunState) -> None:
    for place, endpoint in enumerate(constellation.endpoints):
        with Client(endpoint) as stars, Client(constellation.endpoints[1 - place]) as other:
            reloaded = stars.reload()
            assert other.status().table_version >= reloaded.table_version
            routes = [each.route(PROMPTS["network"]) for each in (stars, other)]
            assert routes[0] == routes[1]


def test_a_direct_client_writes_what_the_routers_would(
    constellation: RunState, artifacts: Path
) -> None:
    source = ReleasedCoordizers(artifacts)
    with (
        Client(constellation.endpoints) as routed,
        DirectClient(constellation.endpoints, source.current(), coordizers=source) as direct,
    ):
        for prompt in PROMPTS.values():
            said, told = (
                stars.ask(prompt, tokens_max=12, temperature=0.0) for stars in (routed, direct)
            )
            assert (told.text, told.route) == (said.text, said.route)
            assert direct.score(prompt).nats == routed.score(prompt).nats
            with direct.stream(prompt, tokens_max=12, temperature=0.0) as stream:
                assert "".join(piece.text for piece in stream) == said.text
