"""Who asks, and which request it is, as the host hears it through both doors."""

from pathlib import Path
from typing import Any

import pytest

from constellation.client import Client
from constellation.errors import InvalidRequest
from constellation.v1 import constellation_pb2
from constellation.wire.callers import Caller, client_of, client_of_transport
from constellation.wire.channel import Bind
from constellation.wire.services import Stub
from constellation.wire.tls import ServerTls
from tests.support.certificates import Authority
from tests.wire.fakes import Served
from tests.wire.http.doors import Door
from tests.wire.test_tls import context

BODY = {"model": "constellation", "prompt": "a b"}


def request(prompt: str = "a", request_id: str = "7", **fields: Any) -> Any:
    return constellation_pb2.GenerateRequest(prompt=prompt, request_id=request_id, **fields)


def test_callers_on_one_machine_are_one_client(served: Served, router: Stub) -> None:
    router.Ask(request(), timeout=5)
    list(router.Generate(request(), timeout=5))
    router.Score(constellation_pb2.ScoreRequest(text="a"), timeout=5)
    assert [caller.client for caller in served.router.callers] == ["127.0.0.1"] * 3
    assert [caller.request_id for caller in served.router.callers] == ["7", "7", None]


def test_a_fingerprint_stands_for_what_is_asked_and_for_nothing_else(
    served: Served, router: Stub
) -> None:
    biased = {3: 1.0, 1: 2.0, 2: 0.5}
    same = [
        request(sampling={"logit_bias": biased}),
        request(request_id="8", sampling={"logit_bias": dict(sorted(biased.items()))}),
    ]
    others = [
        request(),
        request("b"),
        request(sampling={"seed": 1}),
        request(routing={"explain": True}),
    ]
    for each in (*same, *others):
        router.Ask(each, timeout=5)
    list(router.Generate(others[0], timeout=5))  # the same fields, another question
    prints = [caller.fingerprint for caller in served.router.callers]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 1 + len(others) + 1


@pytest.mark.parametrize("wrong", ["x" * 65, "line\nbreak", "é"])
def test_ids_that_are_none_are_refused_at_both_doors(wrong: str) -> None:
    with Served() as served, Client(served.endpoint) as stars:
        with pytest.raises(InvalidRequest, match="request_id"):
            stars.ask("a", request_id=wrong)
        assert served.router.calls == []
    if "\n" in wrong:
        return  # no header can carry it
    with Door() as door:
        said = door.call("POST", "/v1/completions", BODY, headers={"Idempotency-Key": wrong})
        assert (said.status, said.body["error"]["param"]) == (400, "Idempotency-Key")


def test_http_takes_the_id_from_a_header() -> None:
    with Door() as door:
        for headers in ({"Idempotency-Key": "7"}, {"Idempotency-Key": "7"}, {}):
            door.call("POST", "/v1/completions", BODY, headers=headers)
        other = BODY | {"prompt": "c"}
        door.call("POST", "/v1/completions", other, headers={"Idempotency-Key": "7"})
        first, again, without, changed = door.router.callers
    assert first == again
    assert (first.client, first.request_id, len(first.fingerprint)) == ("127.0.0.1", "7", 16)
    assert without == Caller(client="127.0.0.1")
    assert changed.fingerprint != first.fingerprint


def test_a_certificate_names_the_client_at_both_doors(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    server, shown = ours.sign("server"), ours.sign("client")
    tls = ServerTls(certificate=server.certificate, key=server.key, client_ca=ours.file)
    with (
        Served(Bind(tls=tls)) as served,
        Client(
            served.endpoint, ca=ours.file, certificate=shown.certificate, key=shown.key
        ) as stars,
    ):
        stars.ask("a")
        by_grpc = served.router.callers[0].client
    with Door(Bind(tls=tls)) as door:
        door.call("POST", "/v1/completions", BODY, context=context(ours.file, shown))
        by_http = door.router.callers[0].client
    assert by_grpc == by_http == "CN=client"


class _Peer:
    """A gRPC context of a peer."""

    def __init__(self, peer: str) -> None:
        self._peer = peer

    def peer(self) -> str:
        return self._peer

    def auth_context(self) -> dict[str, list[bytes]]:
        return {}


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("ipv4:10.1.2.3:40000", "10.1.2.3"),
        ("ipv6:%5B::1%5D:40000", "::1"),
        ("unix:", "unknown"),
    ],
)
def test_the_port_of_a_connection_is_no_part_of_its_client(peer: str, client: str) -> None:
    assert client_of(_Peer(peer)) == client


def test_a_caller_that_has_gone_is_nobody_in_particular() -> None:
    assert client_of_transport(None) == "unknown"
