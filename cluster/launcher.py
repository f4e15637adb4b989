"""The launcher: the process behind `constellation up`, which runs Ray and the actors until stopped.

Run as `python -m cluster.launcher FD < settings.json`. The launcher moves to the background, writes
JSON lines to file descriptor FD, {"pid": ...} and then {"endpoint": ...} or {"error": ...}, and
ends on SIGTERM or SIGINT.
"""

import errno
import json
import logging
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from cluster.bootstrap import ADVICE, NAMESPACE, OwnRay, joined_ray, local_ray, num_gpus, raylet
from cluster.listening_check import check_loopback
from cluster.metrics_server import MetricsServer
from cluster.open_files import raise_open_files
from cluster.state_file import (
    STATE_FILE,
    RunState,
    own_start_mark,
    pack_state,
    remove_state,
    write_state,
)
from cluster.subprocesses import keep_others_from_writing
from cluster.worker_errors import last_error_lines
from constellation.errors import (
    ConfigError,
    ConstellationError,
    DeploymentError,
)
from constellation.loopback import is_loopback
from constellation.releases.release_coordizers import ReleasedCoordizers
from constellation.releases.store import ReleaseStore
from constellation.runtime.patience import Patience
from constellation.settings import SecuritySettings, Settings, TracingSettings, read_token
from constellation.telemetry.logs import set_up_logging
from constellation.telemetry.tracing import TracingOptions, check_installed
from constellation.wire.channel import authority
from constellation.wire.tls import ServerTls, server_tls

if TYPE_CHECKING:  # actors import Ray, whose environment has to be set before
    from actors.actor_calls import RegistryCalls
    from actors.spec import DeploymentSpec

logger = logging.getLogger("cluster.launcher")  # which runs as __main__

READY_S = 120.0
"""Seconds that all actors may take to come up."""
GRACE_S = 5.0
"""Seconds that running requests may take to finish when the constellation stops."""
WATCH_S = 1.0
"""Seconds between two looks at the registry."""
SILENT_S = 6.0
"""Seconds without an answer after which the registry is restarted."""
CLUSTER_SILENT_S = 10.0
"""The same where the network and other programs of the machines add to it."""
SILENT_MAX_S = 60.0
"""Longest such time; the time doubles with every restart after which no answer came."""
START_S = 20.0
"""Seconds that a registry which was restarted may take in addition."""
_PORT_MAX = 65_535
_NOT_OUR_ADDRESS = frozenset({errno.EADDRNOTAVAIL, socket.EAI_NONAME, socket.EAI_AGAIN})
"""Error numbers of the system for an address that is not of this machine."""
PRELOADED = (
    "actors.kernel.kernel_group",
    "actors.kernel.engines",
    "actors.router.host",
    "actors.router.listeners",
    "actors.router.interfaces",
    "actors.registry.heartbeat",
    "constellation.wire.http.gateway",
    "constellation.wire.http.server",
)
"""Modules that Ray's workers import for a constellation of our own kernels. Modules that define
actors are left out: defining an actor draws a random number, and all forked workers would continue
from the same state and draw the same ids."""


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


def _spec(settings: Settings) -> "DeploymentSpec":
    from actors.spec import DeploymentSpec, KernelOptions, RouterDoors, RouterOptions, router_member

    serve, security = settings.serve, settings.security
    ports, http_ports = free_ports(settings)
    routers = tuple(
        RouterDoors(
            member=router_member(number),
            listen=(serve.host, port),
            http_listen=(serve.host, http_port) if http_port is not None else None,
        )
        for number, (port, http_port) in enumerate(zip(ports, http_ports, strict=True), 1)
    )
    router = serve.model_dump(include={each.name for each in fields(RouterOptions)})
    return DeploymentSpec(
        namespace=NAMESPACE,
        artifacts=settings.artifacts.resolve(),
        run_dir=settings.run_dir.resolve(),
        routers=routers,
        router=RouterOptions(**router),
        kernel=KernelOptions(**settings.kernel.model_dump()),
        http_connections_max=serve.http_connections_max,
        token=read_token(security.token_file),
        tls=tls_of(security),
        access_log=settings.log.access,
        log_prompts=settings.log.prompts,
        tracing=tracing_of(settings.tracing),
        node_dir=settings.cluster.node_dir,
        storage=settings.cluster.storage,
        cache_bytes=round(settings.cluster.cache_gb * 1e9),
    )


def ports_of(settings: Settings) -> tuple[list[int], list[int | None]]:
    """Return every router's configured ports for gRPC and for HTTP.

    Port 0 lets the system choose; None means no HTTP.

    Raises:
        ConfigError: A port would be beyond the last one, or gRPC and HTTP want the same port.
    """
    serve = settings.serve
    ports = _ports_from(serve.port, serve.routers, "serve.port")
    if not serve.http:
        return ports, [None] * serve.routers
    first = serve.http_port
    if first is None:
        first = serve.port + serve.routers if serve.port else 0
    http_ports = _ports_from(first, serve.routers, "serve.http_port")
    both = sorted(set(ports) & set(http_ports) - {0})
    if both:
        raise ConfigError(
            f"gRPC and HTTP both want port {both[0]}; choose others with --port and --http-port"
        )
    return ports, list(http_ports)


def _ports_from(first: int, count: int, key: str) -> list[int]:
    if first == 0:
        return [0] * count
    if first + count - 1 > _PORT_MAX:
        raise ConfigError(
            f"{key} would need the ports {first} to {first + count - 1}, and {_PORT_MAX} is the "
            "last; set it lower"
        )
    return list(range(first, first + count))


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


def tracing_of(settings: TracingSettings) -> TracingOptions | None:
    """Return where spans are sent; None turns tracing off.

    Raises:
        ConfigError: The endpoint is no URL, or packages are missing.
    """
    if settings.endpoint is None:
        return None
    check_installed()
    return TracingOptions(endpoint=settings.endpoint, sample_ratio=settings.sample_ratio)


def free_ports(settings: Settings) -> tuple[list[int], list[int | None]]:
    """Return free ports for gRPC and for HTTP, one each for every router.

    Ports are chosen once, so that a router that restarts listens where its clients expect it.

    Raises:
        DeploymentError: A configured port is in use.
        ConfigError: As for `ports_of`.
    """
    ports, http_ports = ports_of(settings)
    with ExitStack() as held:  # all at once, so that no two are the same

        def take(port: int, flag: str) -> int:
            return held.enter_context(_listening(settings.serve.host, port, flag))

        return (
            [take(port, "--port") for port in ports],
            [None if port is None else take(port, "--http-port") for port in http_ports],
        )


@contextmanager
def _listening(host: str, port: int, flag: str) -> Iterator[int]:
    """Listen at a port while the context lasts, and return the port; 0 lets the system choose."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = socket.create_server((host, port), family=family)
    except OSError as error:
        where = authority(host, port)
        raise DeploymentError(
            f"cannot listen on {where}: {error.strerror}; {_way_out(error, flag)}"
        ) from error
    with server:
        yield server.getsockname()[1]


def _way_out(error: OSError, flag: str) -> str:
    if error.errno in _NOT_OUR_ADDRESS:
        return "choose an address of this machine with --host"
    return f"choose another port with {flag}"


def hold(settings: Settings, address: str | None, report: Any, stop: threading.Event) -> None:
    """Start the constellation, report its endpoint, and supervise it until `stop` is set."""
    preloaded = PRELOADED if settings.cluster.fork_workers else ()
    ray_running: AbstractContextManager[OwnRay | None] = (
        local_ray(num_cpus=0, dashboard=False, preloaded=preloaded)
        if address is None
        else joined_ray(address)
    )
    # Everything that can be wrong with the configuration is found before Ray starts.
    from cluster.gpu_assignment import on_devices

    kernels = kernels_of(settings.artifacts)
    spec = _spec(settings)
    metrics = MetricsServer(settings)
    with metrics.open(), ray_running as own:
        # Ray has replaced our signal handlers by handlers that write a trace of the crash into the
        # log and do not end the process.
        stop_on_signals(stop)
        spec = on_devices(spec, num_gpus=num_gpus, num_kernels=len(kernels))
        from actors import _ray
        from actors.registry.process import RegistryActor
        from actors.run_folder import KeptFiles
        from actors.spec import StartState

        starts = StartState if own is None else own.check
        ray_lives = _alive(raylet()) if own is not None else lambda: True
        # A table of an earlier constellation here would send the router to processes long gone.
        _clear(spec)
        registry = RegistryActor.create(_ray.REGISTRY, spec)
        registry.state(starts())
        try:
            metrics.targets = _wait_until_ready(registry, own)["metrics"]
            if own is not None:
                check_loopback(ADVICE, open_ports=_open_ports(spec))
            # Not the announced endpoints: with TLS a router answers heartbeats at another port.
            endpoints = tuple(doors.endpoint for doors in spec.routers)
            state = RunState(
                pid=os.getpid(),
                started=own_start_mark(),
                endpoint=endpoints[0],
                endpoints=endpoints,
                http=spec.http_url,
                metrics=metrics.endpoint,
                artifacts=str(settings.artifacts),
                kernels=kernels,
            )
            write_state(settings.run_dir, state)
            report({"endpoint": endpoints[0]})
            files = KeptFiles()
            files.keep(settings.run_dir.resolve() / STATE_FILE, pack_state(state))

            def meanwhile(latest: dict[str, Any]) -> None:
                files.write()
                metrics.targets = latest.get("metrics", metrics.targets)

            _ray.watch(
                _ray.REGISTRY,
                spec.namespace,
                interval_s=WATCH_S,
                stop=stop,
                ray_lives=ray_lives,
                starts=starts,
                start=lambda: RegistryActor.create(_ray.REGISTRY, spec),
                meanwhile=meanwhile,
                patience=Patience(
                    base_s=SILENT_S if address is None else CLUSTER_SILENT_S,
                    max_s=SILENT_MAX_S,
                    start_s=START_S,
                ),
            )
        finally:
            _ray.tear_down(spec, grace_s=GRACE_S)
            remove_state(settings.run_dir)


def _clear(spec: "DeploymentSpec") -> None:
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


def _wait_until_ready(registry: "RegistryCalls", own: OwnRay | None) -> dict[str, Any]:
    """Wait until all members are up; return the state of the registry.

    Raises:
        DeploymentError: Members do not come up; with the last lines on their standard error.
    """
    from actors import _ray

    try:
        state: dict[str, Any] = _ray.wait_for(
            registry.ready(), timeout_s=READY_S, what="the constellation"
        )
    except DeploymentError as error:
        said = [] if own is None else last_error_lines(own.folder)
        logger.error("did not come up", extra={"reason": str(error), "said": said})
        # A member that could not start has said why; a silent one may have died before.
        if said and " did not start: " not in str(error):
            raise DeploymentError(f"{error}; the last that a process said: {said[0]}") from error
        raise
    return state


def _open_ports(spec: "DeploymentSpec") -> set[int]:
    """Return the ports at which routers are meant to answer clients of other machines."""
    doors = {
        each for router in spec.routers for each in (router.listen, router.http_listen) if each
    }
    return {port for host, port in doors if not is_loopback(host)}


def stop_on_signals(stop: threading.Event) -> None:
    """Have SIGTERM and SIGINT only set `stop`; call this on the main thread."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())


def _alive(process: psutil.Process) -> Callable[[], bool]:
    """Return a function that returns whether a process still runs."""
    return lambda: process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def main() -> None:
    """Read settings from standard input, move to the background, run, and report."""
    request = json.loads(sys.stdin.read())
    keep_others_from_writing()
    if os.fork():
        os._exit(0)
    os.setsid()  # it outlives the terminal
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as pipe:

        def report(message: dict[str, Any]) -> None:
            pipe.write(json.dumps(message) + "\n")
            pipe.flush()

        report({"pid": os.getpid()})
        settings = Settings(**request["settings"])
        set_up_logging(settings.run_dir / "logs" / "launcher.jsonl")
        raise_open_files()  # processes that start from here on inherit the limit
        stop = threading.Event()
        stop_on_signals(stop)
        try:
            hold(settings, request["address"], report, stop)
        except (ConstellationError, OSError) as error:
            logger.error("not started, or ended", extra={"reason": str(error)})
            sys.stderr.write(f"{error}\n")
            with suppress(OSError):  # the command that waited has ended
                report({"error": str(error)})
            raise SystemExit(1) from error


if __name__ == "__main__":
    main()
