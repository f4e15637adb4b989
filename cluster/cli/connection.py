"""Turn command-line options into settings, and settings into a client of a constellation."""

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from constellation.errors import DeploymentError, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.deployment_process import Named
    from cluster.state_file import RunState
    from constellation.client import Client, RetryPolicy, Timeouts
    from constellation.settings import SecuritySettings, Settings

_LOOK_S = 2.0
"""Seconds to wait for a server at the default address when no constellation runs here."""


def configuration(
    *,
    run_dir: Path | None = None,
    artifacts: Path | None = None,
    token_file: Path | None = None,
    host: str | None = None,
    port: int | None = None,
    http_port: int | None = None,
    name: str | None = None,
) -> "Settings":
    """Return the settings: options, then environment variables, then `constellation.toml`.

    Raises:
        ConfigError: Names every setting that is unknown or out of range.
    """
    from constellation.settings import load_settings

    flags = {"host": host, "port": port, "http_port": http_port}
    serve = {key: value for key, value in flags.items() if value is not None}
    return load_settings(
        run_dir=run_dir,
        artifacts=artifacts,
        serve=serve or None,
        security=None if token_file is None else {"token_file": token_file},
        cluster=None if name is None else {"name": name},
    )


def running_here(settings: "Settings") -> "RunState | None":
    """Return the constellation that runs from the run folder, or None.

    Raises:
        DeploymentError: Nothing runs from a run folder that an option or a setting names. A named
            run folder is never replaced by the default address.
    """
    from cluster.state_file import running

    state = running(settings.run_dir)
    if state is None and "run_dir" in settings.model_fields_set:
        raise DeploymentError(
            f"nothing runs from {settings.run_dir}; start one there with: constellation up "
            f"--run-dir {settings.run_dir}, or name another run folder"
        )
    return state


def connect(
    settings: "Settings",
    endpoint: str | None = None,
    timeout_s: float | None = None,
    *,
    changes: bool = False,
) -> "Client":
    """Return a client of the constellation that the options name.

    Args:
        settings: The run folder, the default address and the security options.
        endpoint: host:port, or several with commas. None finds the routers that run from
            `settings.run_dir`, else tries the configured address and prints a note.
        timeout_s: Seconds for each call; None takes the client's defaults.
        changes: Whether the constellation is to be changed. Then the configured address is not
            tried, since another user's constellation may answer there.

    Raises:
        DeploymentError: No endpoint was given, and no constellation was found.
    """
    from constellation.client import Timeouts
    from constellation.wire.channel import authority

    known = endpoint or _running_endpoints(settings)
    if known is None and changes:
        raise DeploymentError(
            f"nothing runs from {settings.run_dir}; name the constellation to change by --run-dir "
            "or --endpoint"
        )
    limits = {} if timeout_s is None else {"request_s": timeout_s, "lookup_s": timeout_s}
    default = authority(settings.serve.host, settings.serve.port or 1)
    client = client_at(known or default, settings.security, Timeouts(**limits))
    if known is not None:
        return client
    if not client.healthy(timeout_s=_LOOK_S):
        client.close()
        raise DeploymentError(
            f"nothing runs from {settings.run_dir} and no server answers at {default}; start one "
            "with: constellation up, or name a running one by --endpoint"
        )
    print(
        f"nothing runs from {settings.run_dir}; asking the server at the default address {default}",
        file=sys.stderr,
    )
    return client


def named_on(settings: "Settings", address: str) -> "Named":
    """Return the deployment that the settings name, on a Ray cluster."""
    from cluster.deployment_process import Named

    cluster = settings.cluster
    return Named(address=address, name=cluster.name, token_file=cluster.ray_token_file)


def client_at(
    endpoint: str,
    security: "SecuritySettings",
    timeouts: "Timeouts",
    retries: "RetryPolicy | None" = None,
) -> "Client":
    """Return a client of the server at an endpoint, with the token and certificates of settings."""
    from constellation.client import Client
    from constellation.settings import read_token

    return Client(
        endpoint,
        token=read_token(security.token_file),
        ca=security.ca,
        certificate=security.client_certificate,
        key=security.client_key,
        timeouts=timeouts,
        retries=retries,
    )


def _running_endpoints(settings: "Settings") -> str | None:
    state = running_here(settings)
    return None if state is None else ",".join(state.endpoints or (state.endpoint,))


def resolve_artifacts(settings: "Settings", artifacts: Path | None) -> Path:
    """Return the artifacts folder: the given one, else the one of the running constellation."""
    state = running_here(settings)
    return settings.artifacts if artifacts is not None or state is None else Path(state.artifacts)


@contextmanager
def served_from(
    settings: "Settings", artifacts: Path, timeout_s: float | None
) -> "Iterator[Client | None]":
    """Yield a client of the constellation that serves `artifacts`; None when none does."""
    state = running_here(settings)
    if state is None or Path(state.artifacts).resolve() != artifacts.resolve():
        yield None
        return
    with connect(settings, state.endpoint, timeout_s) as client:
        yield client


def read_text(argument: str) -> str:
    """Return the text of a TEXT argument: the argument itself, or standard input for "-".

    Raises:
        InvalidRequest: Standard input is not UTF-8.
    """
    if argument != "-":
        return argument
    data = sys.stdin.buffer.read()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest("standard input", data[:40], "UTF-8 text") from error
