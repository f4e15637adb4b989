"""The actors that `benchmarks.dispatch` measures: our router and kernels, and a bare echo.

The router and the kernel hosts are the product's own classes; only the engine does nothing.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import ray

from actors.kernel import server as kernel_server
from actors.kernel.engine_interface import Step
from actors.kernel.host import KernelHost
from actors.registry_messages import Snapshot
from actors.router import host as router
from actors.router.host import RouterHost
from actors.spec import RouterOptions
from constellation.coordizer.coordizer import Coordizer
from constellation.records import COORDIZER_TOKENS, EVERYTHING, FinishReason, Sampling, Score
from constellation.wire import channel
from constellation.wire.access_log import AccessLog
from constellation.wire.table_file import unpack_table

TOKEN = "a secret of the benchmark"
STALL_S = 20.0


class NoAnswer:
    """An answer of one word, at once."""

    def __init__(self, num_prompt_tokens: int) -> None:
        self.num_prompt_tokens = num_prompt_tokens


class NoEngine:
    """A kernel that does nothing."""

    capabilities = EVERYTHING
    vocabulary = COORDIZER_TOKENS
    tokenizer_hash = ""
    context = 256
    num_parameters = 0
    kappa = 0.0
    blocking = False

    def start(
        self, tokens: Sequence[int], sampling: Sampling, produced: Sequence[int] = ()
    ) -> NoAnswer:
        return NoAnswer(len(tokens))

    def step(self, answers: Sequence[NoAnswer]) -> list[Step]:
        return [Step("ok", 1, FinishReason.END) for _ in answers]

    def leave(self, answer: NoAnswer) -> None:
        pass

    def score(self, tokens: Sequence[int], num_context: int) -> Score:
        return Score(nats=0.0, num_tokens=len(tokens))


class Silent:
    """Metrics that count nothing."""

    def __init__(self, registry: Any) -> None:
        self.registry = registry

    def __getattr__(self, name: str) -> "Silent":
        return self

    def __call__(self, *arguments: Any, **options: Any) -> "Silent":
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class Equipment:
    """What a constellation does beside answering."""

    metrics: bool = True
    """It counts."""
    doors: bool = True
    """It wants a token, has limits for every client, and writes the access log."""

    def bind(self) -> channel.Bind:
        """Return where to listen; without metrics this process has none from here on."""
        if not self.metrics:
            # This process is the actor's own. The product has no switch for it.
            router.RouterMetrics = Silent  # type: ignore[attr-defined]
            kernel_server.KernelMetrics = Silent  # type: ignore[attr-defined]
        return channel.Bind(token=TOKEN if self.doors else None)


class Kernels:
    """Several no-op kernels, each with its own gRPC server and port."""

    def __init__(self, names: Sequence[str], equipment: Equipment) -> None:
        self._bind = equipment.bind()
        self._hosts = {
            name: KernelHost(name, NoEngine(), slots=256, queue_max=4096) for name in names
        }

    async def serve(self) -> dict[str, str]:
        return {
            name: await host.server.open(self._bind, stall_s=STALL_S)
            for name, host in self._hosts.items()
        }


class Writer:
    """One real kernel, as its process serves it."""

    def __init__(self, kernel_folder: str, coordizer: str) -> None:
        import torch

        from actors.kernel.engine import KernelEngine
        from constellation.coordizer.artifacts import read_vocabulary
        from constellation.kernel.files.checkpoint import load_kernel

        torch.set_num_threads(1)
        loaded = load_kernel(kernel_folder)
        engine = KernelEngine(loaded, read_vocabulary(Path(coordizer)))
        self._host = KernelHost("k000", engine, slots=4, queue_max=64)

    async def serve(self) -> str:
        return await self._host.server.open(Equipment().bind(), stall_s=STALL_S)


class Router:
    """The product's router on a table of choice."""

    def __init__(self, coordizer: str, log: str, equipment: Equipment) -> None:
        self._bind = equipment.bind()
        limits = {"client_requests_max": 4096, "client_rate": 1e6} if equipment.doors else {}
        self._host = RouterHost(
            Coordizer.load(Path(coordizer)),
            RouterOptions(requests_max=4096, **limits),
            token=self._bind.token,
        )
        if equipment.doors:
            self._host.guard.log = AccessLog(Path(log))

    async def serve(self, table: bytes) -> str:
        snapshot = Snapshot(table=unpack_table(table), health={}, registry_pid=os.getpid())
        await self._host.update(snapshot)
        return await self._host.serve(self._bind, stall_s=STALL_S)


class Echo:
    """A bare grpc.aio server that returns the bytes it was sent."""

    async def serve(self) -> str:
        async def echo(request: bytes, context: object) -> bytes:
            return request

        self._server = grpc.aio.server(options=channel.SERVER_OPTIONS)
        handler = grpc.unary_unary_rpc_method_handler(echo)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("bench.Echo", {"Echo": handler}),)
        )
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return f"127.0.0.1:{port}"


KernelsActor = ray.remote(num_cpus=0)(Kernels)
WriterActor = ray.remote(num_cpus=0)(Writer)
RouterActor = ray.remote(num_cpus=0)(Router)
EchoActor = ray.remote(num_cpus=0)(Echo)
