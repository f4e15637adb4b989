"""A client that knows several routers: one is enough, and which one answers is not its caller's."""

import socket
import threading
from typing import Any

import pytest

from constellation.client import RetryPolicy
from constellation.client.router_endpoints import RouterConnections
from constellation.errors import (
    ConfigError,
    InvalidRequest,
    KernelUnavailable,
    MessageTooLarge,
    ServiceUnavailable,
)
from constellation.wire.channel import MESSAGE_BYTES_MAX
from tests.client.conftest import MakeClient
from tests.wire.fakes import Served
from tests.wire.http.doors import Door


@pytest.fixture
def nobody() -> str:
    """Return an address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def lost(endpoint: str) -> ServiceUnavailable:
    return ServiceUnavailable(endpoint, "refused")


def test_the_next_router_is_taken_when_one_is_lost_and_the_first_after_the_last() -> None:
    routers = RouterConnections(("a:1", "b:2", "c:3"), lambda endpoint: FakeChannel())
    seen = []
    for _ in range(4):
        seen.append(routers.current().endpoint)
        routers.switch_after(lost(seen[-1]))
    assert seen == ["a:1", "b:2", "c:3", "a:1"]


def test_only_the_router_that_is_taken_can_be_lost() -> None:
    routers = RouterConnections(("a:1", "b:2"), lambda endpoint: FakeChannel())
    for error in (lost("b:2"), lost("the registry"), KernelUnavailable("law", "is lost")):
        routers.switch_after(error)
    assert routers.current().endpoint == "a:1"
    for _ in range(8):  # callers that lost the same one
        routers.switch_after(lost("a:1"))
    assert routers.current().endpoint == "b:2"


def test_the_port_of_http_is_named_as_what_it_is_at_once(make_client: MakeClient) -> None:
    with Door() as door:
        stars = make_client(door.endpoint, retries=RetryPolicy())
        for call in (stars.ask, stars.route):
            with pytest.raises(InvalidRequest, match="the port of gRPC; an HTTP server answers"):
                call("a")


def test_an_answer_beyond_the_size_of_a_message_is_not_blamed_on_the_text(
    served: Served, make_client: MakeClient
) -> None:
    served.router.num_repeats = 8
    with pytest.raises(MessageTooLarge, match=r"the reply is over .* ask for less at once"):
        make_client(served.endpoint).ask("x" * (MESSAGE_BYTES_MAX // 7))


class FakeChannel:
    """Makes no calls."""

    def unary_unary(self, *arguments: Any, **options: Any) -> None: ...

    unary_stream = unary_unary


@pytest.mark.parametrize("together", [True, False])
def test_the_second_router_answers_when_the_first_is_gone(
    served: Served, make_client: MakeClient, nobody: str, together: bool
) -> None:
    endpoints = [nobody, served.endpoint]
    stars = make_client(",".join(endpoints) if together else endpoints)
    assert stars.ask("a b").text == "a b"
    with stars.stream("c d") as stream:
        assert "".join(piece.text for piece in stream) == "c d"


def test_health_is_that_of_any_router(served: Served, make_client: MakeClient, nobody: str) -> None:
    assert make_client([nobody, served.endpoint]).healthy()
    assert not make_client([nobody, nobody.replace("127.0.0.1", "localhost")]).healthy()


def test_a_stream_goes_to_the_next_router_before_its_first_piece_only(
    served: Served, make_client: MakeClient
) -> None:
    served.router.failure_after = (0, lost(served.endpoint))
    with Served() as second:
        stars = make_client([served.endpoint, second.endpoint])
        assert stars.ask("a b").text == "a b"
        assert [call[0] for call in second.router.calls] == ["a b"]
        second.router.failure_after = (1, lost(second.endpoint))
        with stars.stream("c d") as stream, pytest.raises(ServiceUnavailable):
            list(stream)


def test_threads_that_lose_a_router_together_go_on_together(served: Served, nobody: str) -> None:
    from constellation import Client

    answers: list[str] = []
    with Client([nobody, served.endpoint]) as stars:
        threads = [
            threading.Thread(target=lambda: answers.append(stars.ask("a b").text)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == ["a b"] * 8


@pytest.mark.parametrize("endpoint", ["", "a:1,", "a:1,,b:2", [], ["a:1", "b"], "a:1, b:2"])
def test_every_endpoint_is_host_and_port(make_client: MakeClient, endpoint: Any) -> None:
    with pytest.raises(ConfigError, match="endpoint"):
        make_client(endpoint)
