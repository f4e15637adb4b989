"""Who may call, and where a server may listen."""

import asyncio
import ipaddress
import os
import socket
from collections.abc import Iterator
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from constellation import errors
from constellation.errors import ConfigError, DeploymentError
from constellation.v1 import constellation_pb2
from constellation.wire import error_status
from constellation.wire.channel import Bind, credentials, serve
from constellation.wire.services import CONSTELLATION, Stub
from tests.wire.fakes import Served

TOKEN = "a secret of many characters"


@pytest.fixture(scope="module")
def guarded() -> Iterator[Served]:
    with Served(Bind(token=TOKEN)) as served:
        yield served


@pytest.fixture
def channel(guarded: Served) -> Iterator[Any]:
    with grpc.insecure_channel(guarded.endpoint) as channel:
        yield channel


WRONG = {
    "missing": (),
    "empty": (("authorization", ""),),
    "no scheme": (("authorization", TOKEN),),
    "another": credentials("another secret of many characters"),
    "prefix": credentials(TOKEN[:-1]),
    "longer": credentials(TOKEN + "x"),
    "other key": (("token", f"Bearer {TOKEN}"),),
}


@pytest.mark.parametrize("metadata", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("streaming", [False, True])
def test_a_missing_and_a_wrong_token_get_the_same_answer(
    channel: Any, guarded: Served, metadata: Any, streaming: bool
) -> None:
    stub = Stub(channel, CONSTELLATION)
    call = (lambda r, **o: list(stub.Generate(r, **o))) if streaming else stub.Route
    kind = constellation_pb2.GenerateRequest if streaming else constellation_pb2.RouteRequest
    with pytest.raises(grpc.RpcError) as caught:
        call(kind(), metadata=metadata)
    code, message, details = error_status.terms(errors.Unauthenticated())
    assert caught.value.code() is code
    assert caught.value.details() == message
    received = [(key, value) for key, value in caught.value.trailing_metadata()]
    assert received == list(details)
    assert guarded.router.calls == []


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_read_without_regard_to_letter_case(channel: Any, scheme: str) -> None:
    request = constellation_pb2.StatusRequest()
    metadata = (("authorization", f"{scheme} {TOKEN}"),)
    assert Stub(channel, CONSTELLATION).Status(request, metadata=metadata, timeout=5).router_pid


@pytest.mark.parametrize("method", ["/x.Y/Z", "/constellation.v1.ConstellationService/Nothing"])
def test_without_a_token_nobody_learns_which_methods_exist(channel: Any, method: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method)(b"")
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_reflection_asks_for_the_token_too(channel: Any) -> None:
    info = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    with pytest.raises(grpc.RpcError) as caught:
        list(info(iter([b""])))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_the_right_token_is_let_in(channel: Any) -> None:
    stub = Stub(channel, CONSTELLATION)
    reply = stub.Status(constellation_pb2.StatusRequest(), metadata=credentials(TOKEN))
    assert reply.router_pid == 12


def test_probes_need_no_token(channel: Any) -> None:
    reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_listening_beyond_loopback_without_a_token_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="without a token"):
        Bind(host=host)
    with pytest.raises(ConfigError, match="token"):
        Bind(host=host, token="")
    assert Bind(host=host, token=TOKEN).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert Bind(host=host).token is None


@pytest.mark.parametrize("token", ["", "x", "x" * 15, "é" * 20, "x" * 20 + "\n", " " * 20])
def test_a_token_that_is_short_or_that_no_header_carries_is_refused(token: str) -> None:
    with pytest.raises(ConfigError, match="token"):
        Bind(token=token)


def test_the_token_does_not_show_in_the_repr() -> None:
    assert TOKEN not in repr(Bind(token=TOKEN))


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_out_of_range_is_a_configuration_error(port: int) -> None:
    with pytest.raises(ConfigError, match=str(port)):
        Bind(port=port)


def test_by_default_nothing_listens_beyond_loopback() -> None:
    def listening() -> set[tuple[str, int]]:
        connections = psutil.Process(os.getpid()).net_connections("tcp")
        return {tuple(c.laddr) for c in connections if c.status == psutil.CONN_LISTEN}

    def on_loopback(host: str) -> bool:
        return ipaddress.ip_address(host.removeprefix("::ffff:")).is_loopback  # IPv4 in IPv6

    before = listening()
    with Served() as served:
        new = listening() - before
        assert f"127.0.0.1:{served.endpoint.rpartition(':')[2]}" == served.endpoint
    assert new
    assert all(on_loopback(host) for host, _ in new)


def test_a_taken_port_is_a_deployment_error_that_names_it(served: Served) -> None:
    port = int(served.endpoint.rpartition(":")[2])
    with pytest.raises(DeploymentError, match=str(port)):
        asyncio.run(serve(Bind(port=port), [], []))


def test_a_port_taken_by_a_stranger_is_a_deployment_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        with pytest.raises(DeploymentError, match=str(port)):
            asyncio.run(serve(Bind(port=port), [], []))


def test_an_ipv6_endpoint_stands_in_brackets() -> None:
    if not socket.has_ipv6:
        pytest.fail("this machine's Python has no IPv6")

    async def start() -> str:
        server, endpoint = await serve(Bind(host="::1"), [], [])
        await server.stop(None)
        return endpoint

    assert asyncio.run(start()).startswith("[::1]:")
