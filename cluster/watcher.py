"""The watcher: a process on the head of a Ray cluster that watches the registry of a deployment.

On one machine the launcher does this. On a cluster no launcher stays, so that a constellation does
not end with the process or the machine that started it.
"""

import asyncio
import os
import threading
from contextlib import ExitStack
from typing import Any

from actors import _ray
from actors.actor_calls import WatcherCalls
from actors.registry.process import RegistryActor
from actors.run_folder import KeptFiles
from actors.spec import DeploymentSpec, StartState
from cluster.metrics_server import MetricsServer
from cluster.state_file import STATE_FILE, RunState, own_start_mark, pack_state, remove_state
from constellation.runtime.patience import Patience
from constellation.settings import Settings
from constellation.telemetry.aggregate import ReaderTls
from constellation.telemetry.logs import set_up_logging

WATCH_S = 1.0
"""Seconds between two looks at the registry."""
SILENT_S = 10.0
"""Seconds without an answer after which the registry is restarted."""
SILENT_MAX_S = 60.0
"""Longest such time; the time doubles with every restart after which no answer came."""
START_S = 20.0
"""Seconds that a registry which was restarted may take in addition."""
END_S = 4 * WATCH_S
"""Seconds that the watcher may take to stop."""


class WatcherProcess:
    """Restarts a registry that hangs, serves the metrics of all processes, keeps the state file.

    Ray restarts the watcher itself when it dies.
    """

    def __init__(
        self,
        spec: DeploymentSpec,
        settings: dict[str, Any],
        kernels: tuple[str, ...],
        address: str,
    ) -> None:
        """Start to watch, in a thread.

        Args:
            spec: The deployment.
            settings: All settings, as plain values.
            kernels: Names of the kernels.
            address: host:port of the Ray cluster, for the state file.
        """
        set_up_logging(spec.node_folder.log_path(_ray.WATCHER))
        self._spec = spec
        self._open = ExitStack()
        self._metrics = MetricsServer(Settings(**settings), _reader(spec))
        self._open.enter_context(self._metrics.open())
        self._files = KeptFiles()
        state = _state(spec, settings, kernels, address, self._metrics.endpoint)
        self._files.keep(spec.run_dir / STATE_FILE, pack_state(state))
        self._files.write()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)
        self._thread.start()

    async def watched(self) -> None:
        """Return, since the constructor has written the state file and started the thread."""

    async def stop(self) -> None:
        """Stop watching, and remove the state file."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join, END_S)
        self._open.close()
        remove_state(self._spec.run_dir)

    def _watch(self) -> None:
        spec = self._spec
        _ray.watch(
            _ray.REGISTRY,
            spec.namespace,
            interval_s=WATCH_S,
            stop=self._stop,
            ray_lives=lambda: True,
            starts=StartState,
            start=lambda: RegistryActor.create(_ray.REGISTRY, spec, node=spec.head),
            meanwhile=self._meanwhile,
            patience=Patience(base_s=SILENT_S, max_s=SILENT_MAX_S, start_s=START_S),
        )

    def _meanwhile(self, latest: dict[str, Any]) -> None:
        self._files.write()
        self._metrics.targets = latest.get("metrics", self._metrics.targets)


def _reader(spec: DeploymentSpec) -> ReaderTls | None:
    """Return the TLS for reading the metrics of all processes; None when they are unencrypted."""
    tls = spec.client_tls
    return None if tls is None else ReaderTls(tls.context(), tls.server_name)


def _state(
    spec: DeploymentSpec,
    settings: dict[str, Any],
    kernels: tuple[str, ...],
    address: str,
    metrics: str,
) -> RunState:
    endpoints = tuple(doors.endpoint for doors in spec.routers)
    return RunState(
        pid=os.getpid(),
        started=own_start_mark(),
        endpoint=endpoints[0],
        endpoints=endpoints,
        http=spec.http_url,
        metrics=metrics,
        artifacts=str(spec.artifacts),
        kernels=kernels,
        address=address,
        name=settings["cluster"]["name"],
    )


WatcherActor = _ray.ActorClass[WatcherCalls](WatcherProcess)
