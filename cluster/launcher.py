"""The launcher: the process behind `constellation up`, which runs Ray and the actors until stopped.

Run as `python -m cluster.launcher FD < settings.json`. The launcher moves to the background, writes
JSON lines to file descriptor FD, {"pid": ...} and then {"endpoint": ...} or {"error": ...}, and
ends on SIGTERM or SIGINT. On a Ray cluster (`up --address`) the launcher ends when the
constellation answers, and the constellation goes on.
"""

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil

from cluster.bootstrap import ADVICE, OwnRay, local_ray, num_gpus, raylet
from cluster.cluster_launch import deploy
from cluster.deployment_spec import Site, clear_run_folder, kernels_of, spec_of
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
from constellation.errors import ConstellationError, DeploymentError
from constellation.loopback import is_loopback
from constellation.runtime.patience import Patience
from constellation.settings import Settings
from constellation.telemetry.logs import set_up_logging

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
SILENT_MAX_S = 60.0
"""Longest such time; the time doubles with every restart after which no answer came."""
START_S = 20.0
"""Seconds that a registry which was restarted may take in addition."""
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


def hold(settings: Settings, report: Any, stop: threading.Event) -> None:
    """Start the constellation on a private Ray, report its endpoint, and supervise it.

    Args:
        settings: The whole configuration.
        report: Called with a message for the command that waits.
        stop: Ends the constellation when it is set.
    """
    preloaded = PRELOADED if settings.cluster.fork_workers else ()
    ray_running = local_ray(num_cpus=0, dashboard=False, preloaded=preloaded)
    # Everything that can be wrong with the configuration is found before Ray starts.
    from cluster.gpu_assignment import on_devices

    kernels = kernels_of(settings.artifacts)
    spec = spec_of(settings, Site())
    metrics = MetricsServer(settings)
    with metrics.open(), ray_running as own:
        # Ray has replaced our signal handlers by handlers that write a trace of the crash into the
        # log and do not end the process.
        stop_on_signals(stop)
        spec = on_devices(spec, num_gpus=num_gpus, num_kernels=len(kernels))
        from actors import _ray
        from actors.registry.process import RegistryActor
        from actors.run_folder import KeptFiles

        ray_lives = _alive(raylet())
        # A table of an earlier constellation here would send the router to processes long gone.
        clear_run_folder(spec)
        registry = RegistryActor.create(_ray.REGISTRY, spec)
        registry.state(own.check())
        try:
            metrics.targets = _wait_until_ready(registry, own)["metrics"]
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
                starts=own.check,
                start=lambda: RegistryActor.create(_ray.REGISTRY, spec),
                meanwhile=meanwhile,
                patience=Patience(
                    base_s=SILENT_S,
                    max_s=SILENT_MAX_S,
                    start_s=START_S,
                ),
            )
        finally:
            _ray.tear_down(spec.namespace, grace_s=GRACE_S)
            remove_state(settings.run_dir)


def _wait_until_ready(registry: "RegistryCalls", own: OwnRay) -> dict[str, Any]:
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
        said = last_error_lines(own.folder)
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
            if request["address"] is None:
                hold(settings, report, stop)
            else:
                flags = {name: bool(request[name]) for name in ("replace", "insecure")}
                deploy(settings, request["address"], report, **flags)
        except (ConstellationError, OSError) as error:
            logger.error("not started, or ended", extra={"reason": str(error)})
            sys.stderr.write(f"{error}\n")
            with suppress(OSError):  # the command that waited has ended
                report({"error": str(error)})
            raise SystemExit(1) from error


if __name__ == "__main__":
    main()
