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
from constellation.errors import ArtifactError, ConstellationError, DeploymentError
from constellation.settings import Settings, read_token
from constellation.telemetry.logs import set_up_logging
from constellation.wire.table_file import load_table

READY_S = 120.0
"""Seconds all actors may take to come up."""
GRACE_S = 5.0
"""Seconds running requests may take to finish when the constellation stops."""
WATCH_S = 2.0
"""Seconds between two questions to the registry."""


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
    return tuple(site.name for site in table.sites)


def _spec(settings: Settings, kernels: tuple[str, ...]) -> Any:
    from actors.spec import DeploymentSpec, KernelOptions, RouterOptions

    serve = settings.serve
    return DeploymentSpec(
        namespace=NAMESPACE,
        artifacts=settings.artifacts.resolve(),
        run_dir=settings.run_dir.resolve(),
        kernels=kernels,
        listen=(serve.host, _free_port(serve.host, serve.port)),
        router=RouterOptions(**serve.model_dump(exclude={"host", "port"})),
        kernel=KernelOptions(**settings.kernel.model_dump()),
        token=read_token(settings.security.token_file),
    )


def _free_port(host: str, port: int) -> int:
    """Return `port` when nobody listens there; with 0, one that is free.

    It is chosen here, once, so that a router that restarts comes back where its clients look.
    """
    try:
        with socket.create_server((host, port)) as server:
            free: int = server.getsockname()[1]
    except OSError as error:
        raise DeploymentError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port"
        ) from error
    return free


def hold(settings: Settings, address: str | None, report: Any, stop: threading.Event) -> None:
    """Start the constellation, report its endpoint, watch over it until `stop` is set."""
    ray_running: AbstractContextManager[Any] = (
        local_ray(num_cpus=0, dashboard=False) if address is None else joined_ray(address)
    )
    # Everything that can be wrong with the configuration is found before Ray starts.
    kernels = kernels_of(settings.artifacts)
    spec = _spec(settings, kernels)
    with ray_running:
        from actors import _ray
        from actors.registry import RegistryActor

        # A table of an earlier constellation here would send the router to processes long gone.
        spec.table_path.unlink(missing_ok=True)
        registry = _ray.create(RegistryActor, _ray.REGISTRY, spec)
        try:
            state = _ray.wait_for(
                registry.ready.remote(), timeout_s=READY_S, what="the constellation"
            )
            endpoint = state["members"][_ray.ROUTER]["endpoint"]
            write_state(
                settings.run_dir,
                RunState(
                    pid=os.getpid(),
                    started=own_start_time(),
                    endpoint=endpoint,
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
