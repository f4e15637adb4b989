"""The process behind `constellation up`: holds Ray and the actors until it is told to stop.

Run as `python -m cluster.launcher FD < settings.json`. It goes on in the background, reports
JSON lines on file descriptor FD, {"pid": ...} and then {"endpoint": ...} or {"error": ...}, and
ends on SIGTERM or SIGINT.
"""

import json
import os
import signal
import socket
import sys
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from cluster.bootstrap import NAMESPACE, joined_ray, local_ray
from cluster.state import RunState, own_start_time, remove_state, write_state
from constellation.coordizer.coordizer import Coordizer
from constellation.errors import (
    ArtifactError,
    ConfigError,
    ConstellationError,
    DeploymentError,
)
from constellation.settings import SecuritySettings, Settings, read_token
from constellation.telemetry.logs import set_up_logging
from constellation.wire.channel import authority
from constellation.wire.names import check_kernel_name
from constellation.wire.table_file import load_table
from constellation.wire.tls import ServerTls, server_tls

READY_S = 120.0
"""Seconds all actors may take to come up."""
GRACE_S = 5.0
"""Seconds running requests may take to finish when the constellation stops."""
WATCH_S = 2.0
"""Seconds between two questions to the registry."""
_PORT_MAX = 65_535


def kernels_of(artifacts: Path) -> tuple[str, ...]:
    """Return the names of the kernels that training left in `artifacts`.

    Raises:
        ArtifactError: A file is missing or damaged, or the table is of another coordizer.
    """
    path = artifacts / "table.msgpack"
    if not path.exists():
        raise ArtifactError(path, "is missing; train first: constellation train starter")
    table = load_table(path)
    if table.coordizer_hash != Coordizer.load(artifacts / "coordizer").hash:
        raise ArtifactError(path, "was made with another coordizer; train again")
    return tuple(check_kernel_name("kernel name", site.name) for site in table.sites)


def _spec(settings: Settings) -> Any:
    from actors.spec import DeploymentSpec, HttpOptions, KernelOptions, RouterOptions

    serve, security = settings.serve, settings.security
    port = _free_port(serve.host, serve.port, "--port")
    http = None
    if serve.http:
        http_port = _free_port(serve.host, http_port_of(settings), "--http-port", taken=port)
        http = HttpOptions(
            listen=(serve.host, http_port), connections_max=serve.http_connections_max
        )
    router = serve.model_dump(exclude={"host", "port", "http", "http_port", "http_connections_max"})
    return DeploymentSpec(
        namespace=NAMESPACE,
        artifacts=settings.artifacts.resolve(),
        run_dir=settings.run_dir.resolve(),
        listen=(serve.host, port),
        router=RouterOptions(**router),
        kernel=KernelOptions(**settings.kernel.model_dump()),
        http=http,
        token=read_token(security.token_file),
        tls=tls_of(security),
        access_log=settings.log.access,
        log_prompts=settings.log.prompts,
    )


def http_port_of(settings: Settings) -> int:
    """Return the port for HTTP that the configuration means; 0 lets the system choose.

    Raises:
        ConfigError: It should be the one after the last.
    """
    serve = settings.serve
    if serve.http_port is not None:
        return serve.http_port
    if serve.port == _PORT_MAX:
        raise ConfigError(f"there is no port after {serve.port} for HTTP; set serve.http_port")
    return serve.port + 1 if serve.port else 0


def tls_of(security: SecuritySettings) -> ServerTls | None:
    """Return what the doors show and ask for, or None for plain text.

    Raises:
        ConfigError: A file is missing, or is not what it should be.
    """
    files = (security.certificate, security.key, security.client_ca)
    # Actors run in another folder.
    terms = server_tls(*(None if path is None else path.resolve() for path in files))
    if terms is not None:
        terms.context()
    return terms


def _free_port(host: str, port: int, flag: str, *, taken: int = 0) -> int:
    """Return `port` when nobody listens there; with 0, one that is free, and not `taken`.

    It is chosen here, once, so that a router that restarts comes back where its clients look.
    """
    try:
        with socket.create_server((host, port)) as server:
            free: int = server.getsockname()[1]
    except OSError as error:
        raise DeploymentError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another with {flag}"
        ) from error
    if free != taken:
        return free
    if port:
        raise DeploymentError(f"{flag} is {port}, which is gRPC's; choose another with {flag}")
    return _free_port(host, 0, flag, taken=taken)


def hold(settings: Settings, address: str | None, report: Any, stop: threading.Event) -> None:
    """Start the constellation, report its endpoint, watch over it until `stop` is set."""
    ray_running: AbstractContextManager[Any] = (
        local_ray(num_cpus=0, dashboard=False) if address is None else joined_ray(address)
    )
    # Everything that can be wrong with the configuration is found before Ray starts.
    kernels = kernels_of(settings.artifacts)
    spec = _spec(settings)
    with ray_running:
        from actors import _ray
        from actors.registry import RegistryActor

        # A table of an earlier constellation here would send the router to processes long gone.
        spec.table_path.unlink(missing_ok=True)
        registry = _ray.create(RegistryActor, _ray.REGISTRY, spec)
        try:
            _ray.wait_for(registry.ready.remote(), timeout_s=READY_S, what="the constellation")
            # The router's own word is where it answers heartbeats, which TLS makes another place.
            endpoint = authority(*spec.listen)
            write_state(
                settings.run_dir,
                RunState(
                    pid=os.getpid(),
                    started=own_start_time(),
                    endpoint=endpoint,
                    http=spec.http_url,
                    artifacts=str(settings.artifacts),
                    kernels=kernels,
                ),
            )
            report({"endpoint": endpoint})
            _ray.watch(_ray.REGISTRY, spec.namespace, interval_s=WATCH_S, stop=stop)
        finally:
            _ray.tear_down(spec, grace_s=GRACE_S)
            remove_state(settings.run_dir)


def main() -> None:
    """Read settings from standard input, go to the background, run, report on the descriptor."""
    request = json.loads(sys.stdin.read())
    if os.fork():
        os._exit(0)
    os.setsid()  # it outlives the terminal
    with os.fdopen(int(sys.argv[1]), "w") as pipe:

        def report(message: dict[str, Any]) -> None:
            pipe.write(json.dumps(message) + "\n")
            pipe.flush()

        report({"pid": os.getpid()})
        settings = Settings(**request["settings"])
        set_up_logging(settings.run_dir / "logs" / "launcher.jsonl")
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        try:
            hold(settings, request["address"], report, stop)
        except ConstellationError as error:
            report({"error": str(error)})
            raise SystemExit(1) from error


if __name__ == "__main__":
    main()
