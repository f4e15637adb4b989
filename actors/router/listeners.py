"""A router's doors: gRPC, HTTP when it is wanted, and the access log that both write."""

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from actors.router.host import RouterHost
from actors.spec import DeploymentSpec
from constellation.telemetry.process_metrics import WRITE_FAILURES
from constellation.telemetry.tracing import open_tracing
from constellation.wire import channel
from constellation.wire.access_log import AccessLog

if TYPE_CHECKING:
    from constellation.telemetry.spans import OpenTelemetryTracing
    from constellation.wire.http.server import HttpDoor

logger = logging.getLogger(__name__)


class Doors:
    """Opens what the deployment asks for, and closes it again."""

    def __init__(self, host: RouterHost, spec: DeploymentSpec, router: str, address: str) -> None:
        self._address = address
        self._host = host
        self._spec = spec
        self._router = router
        self._http: HttpDoor | None = None
        self._pulse: Any = None
        self._tracing: OpenTelemetryTracing | None = None

    async def open(self) -> str:
        """Let callers in; return the host:port where the registry may ask for heartbeats."""
        host, spec = self._host, self._spec
        if spec.access_log:
            host.guard.log = AccessLog(
                spec.access_log_path(self._router),
                prompts=spec.log_prompts,
                on_lost=WRITE_FAILURES.labels("access").inc,
            )
        if spec.tracing is not None:
            host.guard.tracing = self._tracing = open_tracing(
                spec.tracing,
                service="constellation-router",
                instance=self._router,
                count=lambda outcome, num: host.metrics.spans.labels(outcome).inc(num),
            )
        bind = spec.bind(spec.doors(self._router).listen)
        endpoint = await host.serve(bind, stall_s=spec.kernel.stall_s)
        await self._open_http()
        if spec.tls is None and spec.network == "loopback" and spec.node_tls is None:
            return endpoint
        # The registry has no certificate for clients to show, and may run on another node.
        bind = spec.internal_bind(self._address)
        self._pulse, pulse_endpoint = await channel.serve(bind, [], [])
        return pulse_endpoint

    async def _open_http(self) -> None:
        spec, guard = self._spec, self._host.guard
        listen = spec.doors(self._router).http_listen
        if listen is None:
            return
        # Imported where HTTP is wanted: pydantic, Starlette and uvicorn cost 15 MB.
        from constellation.wire.http.gateway import Gateway
        from constellation.wire.http.server import HttpDoor

        gateway = Gateway(self._host, guard, stall_s=spec.kernel.stall_s)
        self._host.metrics.event_streams.set_function(lambda: gateway.events.num_streams)
        limit = spec.http_connections_max
        self._http = HttpDoor(gateway, guard, spec.bind(listen), connections_max=limit)
        logger.info("gateway serves", extra={"endpoint": await self._http.start()})

    async def close(self, *, grace_s: float) -> None:
        """Refuse new calls, finish the running ones within `grace_s`, then close."""
        started_s = time.monotonic()
        if self._http is not None:
            # First, since what runs here still needs the way to the kernels.
            await self._http.stop(grace_s=grace_s)
        await self._host.stop(grace_s=max(0.1, grace_s - (time.monotonic() - started_s)))
        if self._host.guard.log is not None:
            self._host.guard.log.flush()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)
