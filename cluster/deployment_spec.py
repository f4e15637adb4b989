"""From the settings to the description of a deployment, with which every actor starts."""

import secrets
import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from cluster.bootstrap import NAMESPACE
from cluster.router_ports import free_ports
from constellation.releases.release_coordizers import ReleasedCoordizers
from constellation.releases.store import ReleaseStore
from constellation.secret_files import read_secret
from constellation.settings import SecuritySettings, Settings, TracingSettings, read_token
from constellation.telemetry.tracing import TracingOptions, check_installed
from constellation.wire.tls import NodeTls, ServerTls, node_tls, server_tls

if TYPE_CHECKING:  # actors import Ray, whose environment has to be set before
    from actors.spec import DeploymentSpec

_WILDCARDS: Final = frozenset({"0.0.0.0", "::"})
"""Addresses to listen on that no client can call."""


def kernels_of(artifacts: Path) -> tuple[str, ...]:
    """Return the names of the kernels of the current release of `artifacts`.

    Raises:
        ArtifactError: There is no release, a file is missing or damaged, or the table is of another
            coordizer.
    """
    store = ReleaseStore(artifacts)
    release = store.read_current()
    table = store.table(release)
    ReleasedCoordizers(artifacts).of_table(table)
    return tuple(site.name for site in table.sites)


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """Where a constellation runs: a private Ray on this machine, or a Ray cluster."""

    network: Literal["loopback", "nodes"] = "loopback"
    """Where processes listen for each other, as in `DeploymentSpec`."""
    head: str = ""
    """Ray's id of the node of registry and routers; empty lets Ray choose."""
    address: str = ""
    """IP address of that node; empty on one machine."""


def namespace_of(name: str) -> str:
    """Return the Ray namespace of the deployment with a name."""
    return NAMESPACE if name == "default" else f"{NAMESPACE}-{name}"


def spec_of(settings: Settings, site: Site) -> "DeploymentSpec":
    """Return the description of a new deployment, with an id of its own and free ports.

    Raises:
        DeploymentError: A port is in use.
        ConfigError: Ports, token, certificates or tracing are set wrongly.
    """
    from actors.spec import DeploymentSpec, KernelOptions, RouterDoors, RouterOptions, router_member

    serve, security = settings.serve, settings.security
    token = read_token(security.token_file)
    token_file = _file_of(token, security.token_file) if site.network == "nodes" else None
    ports, http_ports = free_ports(settings)
    routers = tuple(
        RouterDoors(
            member=router_member(number),
            listen=(serve.host, port),
            http_listen=(serve.host, http_port) if http_port is not None else None,
            advertise=advertised(settings, site.address),
            node=site.head,
        )
        for number, (port, http_port) in enumerate(zip(ports, http_ports, strict=True), 1)
    )
    router = serve.model_dump(include={each.name for each in fields(RouterOptions)})
    return DeploymentSpec(
        id=secrets.token_hex(8),
        namespace=namespace_of(settings.cluster.name),
        artifacts=settings.artifacts.resolve(),
        run_dir=settings.run_dir.resolve(),
        routers=routers,
        router=RouterOptions(**router),
        kernel=KernelOptions(**settings.kernel.model_dump()),
        http_connections_max=serve.http_connections_max,
        token=token,
        token_file=token_file,
        tls=tls_of(security),
        node_tls=node_tls_of(security),
        network=site.network,
        head=site.head,
        access_log=settings.log.access,
        log_prompts=settings.log.prompts,
        tracing=tracing_of(settings.tracing),
        node_dir=settings.cluster.node_dir,
        storage=settings.cluster.storage,
        cache_bytes=round(settings.cluster.cache_gb * 1e9),
    )


def _file_of(token: str | None, file: Path | None) -> Path | None:
    """Return the file that holds a token; None if the token is from the environment."""
    if file is None or read_secret(file, "token file") != token:
        return None
    return file.absolute()  # links may lead elsewhere on another machine


def tls_of(security: SecuritySettings) -> ServerTls | None:
    """Return the TLS of endpoints for clients; None for plain text.

    Raises:
        ConfigError: A file is missing, or is no certificate or key.
    """
    files = (security.certificate, security.key, security.client_ca)
    # Actors run in another folder.
    terms = server_tls(*(None if path is None else path.resolve() for path in files))
    if terms is not None:
        terms.context()
    return terms


def node_tls_of(security: SecuritySettings) -> NodeTls | None:
    """Return the mutual TLS between processes of a constellation; None for unencrypted calls.

    Raises:
        ConfigError: A file is not named, is missing, or is no certificate or key.
    """
    files = (security.internal_certificate, security.internal_key, security.internal_ca)
    # Links are kept: they may lead elsewhere on another machine.
    return node_tls(*(None if path is None else path.absolute() for path in files))


def advertised(settings: Settings, node_address: str) -> str:
    """Return the host by which clients reach the routers; empty means the address they listen on.

    Args:
        settings: Of the constellation.
        node_address: IP address of the routers' node; empty on one machine.
    """
    serve = settings.serve
    if serve.advertise is not None:
        return serve.advertise
    return node_address if serve.host in _WILDCARDS else ""


def tracing_of(settings: TracingSettings) -> TracingOptions | None:
    """Return where spans are sent; None turns tracing off.

    Raises:
        ConfigError: The endpoint is no URL, or packages are missing.
    """
    if settings.endpoint is None:
        return None
    check_installed()
    return TracingOptions(endpoint=settings.endpoint, sample_ratio=settings.sample_ratio)


def clear_run_folder(spec: "DeploymentSpec") -> None:
    """Remove the files of an earlier constellation, whose table names processes that are gone."""
    for path in (
        spec.run_folder.table_path,
        spec.run_folder.members_path,
        spec.run_folder.placement_path,
    ):
        path.unlink(missing_ok=True)
    for path in spec.run_dir.glob(".*.part"):  # of writers that were killed
        path.unlink(missing_ok=True)
    shutil.rmtree(spec.node_folder.weights_dir, ignore_errors=True)
