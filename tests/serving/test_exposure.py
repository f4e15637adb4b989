"""What listens, and for whom."""

import pytest

from cluster import lifecycle
from cluster.state import RunState
from constellation import Client
from constellation.errors import ConfigError, DeploymentError, Unauthenticated
from constellation.settings import Settings
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
        lifecycle.start(exposed)


def test_a_second_start_says_that_one_runs(constellation: RunState, settings: Settings) -> None:
    with pytest.raises(DeploymentError, match="runs already"):
        lifecycle.start(settings)


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
        lifecycle.start(rival)


def test_a_token_is_asked_for_on_every_door(
    settings: Settings, constellation: RunState, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("guarded")
    token = "a secret of more than sixteen characters"
    (folder / "token").write_text(token + "\n")
    guarded = settings.model_copy(
        update={
            "run_dir": folder,
            "security": settings.security.model_copy(update={"token_file": folder / "token"}),
        }
    )
    state = lifecycle.start(guarded)
    try:
        for wrong in (None, token + "!"):
            with Client(state.endpoint, token=wrong) as stars, pytest.raises(Unauthenticated):
                stars.ask("x")
        with Client(state.endpoint, token=token) as stars:
            assert stars.ask("x", tokens_max=2).route.kernel in state.kernels
            kernel_endpoint = stars.status().kernels[0].endpoint
        with Client(kernel_endpoint) as stars, pytest.raises(Unauthenticated):
            stars.ask("x")
        assert token not in "".join(p.read_text() for p in (folder / "logs").glob("*"))
    finally:
        lifecycle.stop(folder)
