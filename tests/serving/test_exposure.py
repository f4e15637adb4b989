"""What listens, and for whom."""

import http.client
import json
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cluster import launcher_process
from cluster.state_file import RunState
from constellation import Client
from constellation.errors import ConfigError, DeploymentError, Unauthenticated
from constellation.settings import Settings
from tests.support.certificates import Authority
from tests.support.sockets import is_loopback, listening_addresses

pytestmark = pytest.mark.ray


def test_nothing_listens_beyond_loopback(constellation: RunState) -> None:
    addresses = listening_addresses(constellation.pid)
    assert constellation.endpoint.rpartition(":")[0] == "127.0.0.1"
    assert len(addresses) > 10  # Ray's daemons, the actors, their metrics
    assert [host for host, _ in addresses if not is_loopback(host)] == []


def test_another_address_without_a_token_is_refused(settings: Settings) -> None:
    exposed = settings.model_copy(
        update={
            "run_dir": settings.run_dir / "exposed",
            "serve": settings.serve.model_copy(update={"host": "0.0.0.0"}),
        }
    )
    with pytest.raises(ConfigError, match="without a token"):
        launcher_process.start(exposed)


def test_a_second_start_says_that_one_runs(constellation: RunState, settings: Settings) -> None:
    with pytest.raises(DeploymentError, match="runs already"):
        launcher_process.start(settings)


def test_a_port_that_is_taken_is_named(
    constellation: RunState, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    taken = int(constellation.endpoint.rpartition(":")[2])
    rival = settings.model_copy(
        update={
            "run_dir": tmp_path_factory.mktemp("rival"),
            "serve": settings.serve.model_copy(update={"port": taken}),
        }
    )
    with pytest.raises(DeploymentError, match=f":{taken}: .*--port"):
        launcher_process.start(rival)


def test_every_door_asks_for_the_token_and_the_certificate(
    settings: Settings, constellation: RunState, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("guarded")
    token = "a secret of more than sixteen characters"
    (folder / "token").write_text(token + "\n")
    authority = Authority(folder, "authority")
    server, own = authority.sign("server"), authority.sign("own")
    files = {
        "token_file": folder / "token",
        "certificate": server.certificate,
        "key": server.key,
        "client_ca": authority.file,
    }
    guarded = settings.model_copy(
        update={"run_dir": folder, "security": settings.security.model_copy(update=files)}
    )
    state = launcher_process.start(guarded)
    shown = {"ca": authority.file, "certificate": own.certificate, "key": own.key}
    try:
        for wrong in (None, token + "!"):
            with (
                Client(state.endpoint, token=wrong, **shown) as stars,
                pytest.raises(Unauthenticated),
            ):
                stars.ask("x")
            assert _ask_by_http(state, wrong, shown) == 401
        with Client(state.endpoint, token=token, ca=authority.file) as stars:
            assert not stars.healthy()
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _ask_by_http(state, token, {"ca": authority.file})
        with Client(state.endpoint, token=token, **shown) as stars:
            assert stars.ask("x", tokens_max=2).route.kernel in state.kernels
            kernel_endpoint = stars.status().kernels[0].endpoint
        assert _ask_by_http(state, token, shown) == 200
        with Client(kernel_endpoint) as stars, pytest.raises(Unauthenticated):
            stars.ask("x")
        assert token not in "".join(p.read_text() for p in (folder / "logs").glob("*"))
    finally:
        launcher_process.stop(folder)


def _ask_by_http(state: RunState, token: str | None, files: dict[str, Path]) -> int:
    """Ask by HTTPS with these certificates; return the status."""
    assert state.http is not None
    assert state.http.startswith("https://")
    context = ssl.create_default_context(cafile=files["ca"])
    if "certificate" in files:
        context.load_cert_chain(files["certificate"], files["key"])
    address = urlsplit(state.http).netloc
    connection = http.client.HTTPSConnection(address, context=context, timeout=10)
    body = json.dumps({"model": "constellation", "prompt": "x", "max_tokens": 1})
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    try:
        connection.request("POST", "/v1/completions", body, headers)
        return connection.getresponse().status
    finally:
        connection.close()
