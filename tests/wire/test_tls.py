"""Real handshakes on both doors, with certificates made on the spot."""

import asyncio
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from constellation import AsyncClient, Client
from constellation.client.retries import RetryPolicy, Timeouts
from constellation.errors import ConfigError, ServiceUnavailable
from constellation.wire.channel import Bind
from constellation.wire.tls import ClientTls, ServerTls, client_tls, server_tls
from tests.support.certificates import Authority, Identity
from tests.wire.fakes import Served
from tests.wire.http.doors import Door

ASKED = {"model": "constellation", "prompt": "a b"}
ONCE = RetryPolicy(attempts_max=1)
SOON = Timeouts(connect_s=1, request_s=2, lookup_s=2)


@dataclass(frozen=True)
class Files:
    """Two authorities and what they vouch for."""

    ours: Authority
    strange: Authority
    server: Identity
    client: Identity
    stranger: Identity


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("tls")
    ours, strange = Authority(folder, "ours"), Authority(folder, "strange")
    return Files(ours, strange, ours.sign("server"), ours.sign("client"), strange.sign("stranger"))


@pytest.fixture(scope="module")
def one_sided(files: Files) -> ServerTls:
    return ServerTls(certificate=files.server.certificate, key=files.server.key)


@pytest.fixture(scope="module")
def mutual(files: Files) -> ServerTls:
    server = files.server
    return ServerTls(certificate=server.certificate, key=server.key, client_ca=files.ours.file)


@pytest.fixture(scope="module")
def served(one_sided: ServerTls) -> Iterator[Served]:
    with Served(Bind(tls=one_sided)) as served:
        yield served


@pytest.fixture(scope="module")
def served_mutually(mutual: ServerTls) -> Iterator[Served]:
    with Served(Bind(tls=mutual)) as served:
        yield served


def ask(endpoint: str, ca: Path | None, shown: Identity | None = None) -> str:
    certificate, key = (shown.certificate, shown.key) if shown else (None, None)
    with Client(
        endpoint, ca=ca, certificate=certificate, key=key, retries=ONCE, timeouts=SOON
    ) as stars:
        return stars.ask("a b").text


# --- gRPC ----------------------------------------------------------------------------------------


def test_a_client_that_trusts_the_authority_is_answered(served: Served, files: Files) -> None:
    assert ask(served.endpoint, files.ours.file) == "a b"


def test_the_async_client_is_answered_too(served_mutually: Served, files: Files) -> None:
    async def asked() -> str:
        async with AsyncClient(
            served_mutually.endpoint,
            ca=str(files.ours.file),
            certificate=str(files.client.certificate),
            key=str(files.client.key),
        ) as stars:
            return (await stars.ask("a b")).text

    assert asyncio.run(asked()) == "a b"


def test_a_server_of_another_authority_is_not_believed(served: Served, files: Files) -> None:
    with pytest.raises(ServiceUnavailable):
        ask(served.endpoint, files.strange.file)


def test_plain_text_is_not_understood(served: Served) -> None:
    with pytest.raises(ServiceUnavailable):
        ask(served.endpoint, None)


def test_mutual_tls_lets_in_who_shows_a_certificate(served_mutually: Served, files: Files) -> None:
    assert ask(served_mutually.endpoint, files.ours.file, files.client) == "a b"


@pytest.mark.parametrize("shown", ["nothing", "a stranger's"])
def test_mutual_tls_keeps_others_out(served_mutually: Served, files: Files, shown: str) -> None:
    before = len(served_mutually.router.calls)
    with pytest.raises(ServiceUnavailable):
        ask(
            served_mutually.endpoint,
            files.ours.file,
            None if shown == "nothing" else files.stranger,
        )
    assert len(served_mutually.router.calls) == before


def test_a_certificate_for_another_address_is_not_believed(files: Files) -> None:
    elsewhere = files.ours.sign("elsewhere", host="127.0.0.9")
    tls = ServerTls(certificate=elsewhere.certificate, key=elsewhere.key)
    with Served(Bind(tls=tls)) as served, pytest.raises(ServiceUnavailable):
        ask(served.endpoint, files.ours.file)


# --- HTTP ----------------------------------------------------------------------------------------


def context(ca: Path, shown: Identity | None = None) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=ca)
    if shown is not None:
        made.load_cert_chain(shown.certificate, shown.key)
    return made


@pytest.fixture(scope="module")
def door(one_sided: ServerTls) -> Iterator[Door]:
    with Door(Bind(tls=one_sided)) as door:
        yield door


@pytest.fixture(scope="module")
def mutual_door(mutual: ServerTls) -> Iterator[Door]:
    with Door(Bind(tls=mutual)) as door:
        yield door


def test_https_is_answered(door: Door, files: Files) -> None:
    answer = door.call("POST", "/v1/completions", ASKED, context=context(files.ours.file))
    assert answer.body["choices"][0]["text"] == "a b"


def test_https_of_another_authority_is_not_believed(door: Door, files: Files) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        door.call("GET", "/health", context=context(files.strange.file))


def test_old_versions_of_tls_are_refused(door: Door, files: Files) -> None:
    old = context(files.ours.file)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        door.call("GET", "/health", context=old)


def test_mutual_https_lets_in_who_shows_a_certificate(mutual_door: Door, files: Files) -> None:
    shown = context(files.ours.file, files.client)
    assert mutual_door.call("GET", "/health", context=shown).status == 200


@pytest.mark.parametrize("shown", ["nothing", "a stranger's"])
def test_mutual_https_keeps_others_out(mutual_door: Door, files: Files, shown: str) -> None:
    identity = None if shown == "nothing" else files.stranger
    with pytest.raises((ssl.SSLError, ConnectionError)):
        mutual_door.call("GET", "/health", context=context(files.ours.file, identity))


# --- files ---------------------------------------------------------------------------------------


def test_files_that_are_not_what_they_should_be_are_named(files: Files, tmp_path: Path) -> None:
    server, missing, broken = files.server, tmp_path / "gone.pem", tmp_path / "broken.pem"
    broken.write_text("no certificate")
    with pytest.raises(ConfigError, match=r"gone\.pem"):
        ServerTls(certificate=missing, key=server.key).context()
    with pytest.raises(ConfigError, match=r"broken\.pem"):
        ServerTls(certificate=server.certificate, key=broken).context()
    with pytest.raises(ConfigError, match=r"broken\.pem"):
        ServerTls(certificate=server.certificate, key=server.key, client_ca=broken).credentials()
    with pytest.raises(ConfigError, match=r"server\.pem and .*client\.key"):
        ServerTls(certificate=server.certificate, key=files.client.key).context()
    with pytest.raises(ConfigError, match=r"broken\.pem"):
        Client("localhost:1", ca=broken)


def test_files_come_in_pairs(files: Files) -> None:
    server, client = files.server, files.client
    assert server_tls(None, None, None) is None
    assert client_tls(None, None, None) is None
    with pytest.raises(ConfigError, match=r"security\.key"):
        server_tls(server.certificate, None, None)
    with pytest.raises(ConfigError, match="TLS needs a certificate"):
        server_tls(None, None, files.ours.file)
    with pytest.raises(ConfigError, match="go together"):
        ClientTls(ca=files.ours.file, certificate=client.certificate)
    with pytest.raises(ConfigError, match="authority"):
        client_tls(None, client.certificate, client.key)
