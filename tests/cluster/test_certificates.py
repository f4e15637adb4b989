"""Certificates of a deployment: which calls they let through, and which files they are in."""

import asyncio
import os
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from prometheus_client import CollectorRegistry, Gauge

from actors.registry.heartbeat import Heartbeats
from cluster.certificates import make_certificates
from constellation.errors import ConfigError
from constellation.telemetry.aggregate import ReaderTls, collect
from constellation.telemetry.process_metrics import serve_metrics
from constellation.wire.channel import Bind, serve
from constellation.wire.tls import NODE_NAME, NodeTls

TOKEN = "0123456789abcdef"


def identity(folder: Path, name: str = "node") -> NodeTls:
    return NodeTls(
        certificate=folder / f"{name}.crt", key=folder / f"{name}.key", ca=folder / "authority.crt"
    )


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ours") / "secrets"
    make_certificates(folder, ["192.0.2.1", "worker-2"])
    return folder


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("others") / "secrets"
    make_certificates(folder, [])
    return folder


def beat(server: NodeTls, client: Any) -> None:
    """Start a server as a process does, and send the server a heartbeat as the registry does."""

    async def story() -> None:
        running, endpoint = await serve(Bind(token=TOKEN, tls=server.server), [], [])
        heartbeats = Heartbeats(TOKEN, client)
        try:
            await heartbeats.router("router", endpoint)
        finally:
            await heartbeats.forget("router")
            await running.stop(0)

    asyncio.run(story())


def refused(server: NodeTls, client: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        beat(server, client)
    assert caught.value.code() in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    )


def test_processes_with_certificates_of_one_authority_call_each_other_whatever_their_address(
    ours: Path,
) -> None:
    beat(identity(ours), identity(ours).client)
    beat(identity(ours), identity(ours, "client").client)


def test_a_caller_without_a_certificate_or_with_one_of_another_authority_is_refused(
    ours: Path, others: Path
) -> None:
    refused(identity(ours), None)
    stranger = NodeTls(
        certificate=others / "node.crt", key=others / "node.key", ca=ours / "authority.crt"
    )
    refused(identity(ours), stranger.client)


def test_a_server_of_another_authority_or_with_a_clients_certificate_is_not_called(
    ours: Path, others: Path
) -> None:
    stranger = NodeTls(
        certificate=others / "node.crt", key=others / "node.key", ca=ours / "authority.crt"
    )
    refused(stranger, identity(ours).client)
    refused(identity(ours, "client"), identity(ours).client)


def test_metrics_of_another_machine_are_read_with_a_certificate_only(
    ours: Path, others: Path
) -> None:
    """A caller who connects and says nothing holds up no other caller."""
    registry = CollectorRegistry()
    Gauge("stars", "Stars.", registry=registry).set(7)
    endpoint, stop = serve_metrics(registry, "127.0.0.1", context=identity(ours).server.context())
    host, port = endpoint.split(":")
    try:
        with socket.create_connection((host, int(port))):
            tls = identity(ours).client
            reader = ReaderTls(tls.context(), tls.server_name)
            text = collect({"a": endpoint}, reader)["a"]
            assert text is not None
            assert "stars 7.0" in text
            stranger = ReaderTls(identity(others).client.context(), NODE_NAME)
            assert collect({"a": endpoint}, stranger) == {"a": None}
            assert collect({"a": endpoint}) == {"a": None}
    finally:
        stop()


def test_files_are_for_their_owner_only_and_name_every_host(ours: Path) -> None:
    assert stat.S_IMODE(ours.stat().st_mode) == 0o700
    files = sorted(ours.iterdir())
    assert [path.name for path in files] == [
        f"{name}.{kind}" for name in ("authority", "client", "node") for kind in ("crt", "key")
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    made = x509.load_pem_x509_certificate((ours / "node.crt").read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"worker-2", "localhost", NODE_NAME} == set(names.get_values_for_type(x509.DNSName))
    addresses = {str(each) for each in names.get_values_for_type(x509.IPAddress)}
    assert addresses == {"127.0.0.1", "192.0.2.1"}


def test_a_renewal_keeps_the_authority_so_that_old_and_new_certificates_agree(
    tmp_path: Path,
) -> None:
    make_certificates(tmp_path / "old", [])
    before = (tmp_path / "old" / "authority.crt").read_bytes()
    (tmp_path / "new").mkdir()
    for name in ("authority.crt", "authority.key"):
        (tmp_path / "new" / name).write_bytes((tmp_path / "old" / name).read_bytes())
    written = make_certificates(tmp_path / "new", [], days=30)
    assert {path.stem for path in written} == {"node", "client"}
    assert (tmp_path / "new" / "authority.crt").read_bytes() == before
    beat(identity(tmp_path / "old"), identity(tmp_path / "new").client)
    beat(identity(tmp_path / "new"), identity(tmp_path / "old").client)


def test_every_node_can_have_a_certificate_of_its_own(tmp_path: Path) -> None:
    make_certificates(tmp_path, ["192.0.2.1", "worker-2"], per_node=True)
    assert not (tmp_path / "node.crt").exists()
    first, second = (tmp_path / name for name in ("192.0.2.1", "worker-2"))
    assert (first / "node.key").read_bytes() != (second / "node.key").read_bytes()
    both = [
        NodeTls(certificate=each / "node.crt", key=each / "node.key", ca=tmp_path / "authority.crt")
        for each in (first, second)
    ]
    beat(both[0], both[1].client)


def spoil_key(folder: Path) -> None:
    (folder / "authority.key").write_text("no key", encoding="utf-8")


def exchange_key(folder: Path) -> None:
    os.replace(folder / "client.key", folder / "authority.key")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(spoil_key, "cannot be used .* remove both"), (exchange_key, "is not the key of")],
)
def test_a_damaged_authority_is_refused(
    spoil: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    make_certificates(tmp_path, [])
    spoil(tmp_path)
    with pytest.raises(ConfigError, match=words):
        make_certificates(tmp_path, [])


@pytest.mark.parametrize("host", ["", "a b", "worker_1", "x" * 64, "10.0.0.1:80", "*.internal"])
def test_a_host_that_no_certificate_can_name_is_refused_before_anything_is_written(
    host: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="host is "):
        make_certificates(tmp_path / "new", [host])
    assert not (tmp_path / "new").exists()


def test_without_the_package_the_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigError, match=r"optional packages `cluster`.*pip install"):
        make_certificates(tmp_path / "new", [])
