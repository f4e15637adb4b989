"""Kernels with small random decoders, each behind its own gRPC server, and a router: no Ray."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from actors.kernel.engine import KernelEngine
from actors.kernel.ensemble_partner import Partners
from actors.kernel.host import KernelHost
from actors.kernel.server import KernelServer
from actors.kernel.step_loop import StepLoop
from actors.registry_messages import Snapshot
from actors.router.host import RouterHost
from actors.spec import RouterOptions
from constellation.coordizer.bytelevel import byte_characters
from constellation.coordizer.vocabulary import END_ID, END_TEXT, Vocabulary
from constellation.geometry import bearing
from constellation.kernel.files.checkpoint import LoadedKernel
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing.kernel_stack import KernelStack
from constellation.kernel.writing.stacked_batch import StackedBatch
from constellation.records import (
    FloatArray,
    KernelSite,
    Route,
    RoutingOptions,
    Rule,
    Sampling,
    Table,
    TokenArray,
    TokenInfluence,
)
from constellation.v1 import kernel_pb2
from constellation.wire.channel import Bind
from tests.support.coordizers import Fixed

VOCABULARY = Vocabulary(tokens=(END_TEXT, *byte_characters()), merges=())
TOKEN_OF = {data: token for token, data in enumerate(VOCABULARY.token_bytes())}
CONFIG = KernelConfig(
    vocab_size=257, width=32, num_layers=2, num_heads=2, mlp_width=40, context=64, init_std=0.4
)
BACKGROUND_K = np.full(64, 1 / 64)
TEMPERATURE = 0.8


def decoder(seed: int, vocab_size: int = 257) -> Decoder:
    return Decoder(replace(CONFIG, vocab_size=vocab_size), seed=seed)


def point(outcome: int) -> FloatArray:
    """Return a simplex point that leans to one outcome."""
    values = np.full(64, 0.4 / 63)
    values[outcome] = 0.6
    return values


class Bytes:
    """A coordizer whose tokens are bytes; a text lies where its first letter does."""

    background_K = BACKGROUND_K
    hash = "bytes"

    def encode(self, text: str) -> TokenArray:
        return np.array([TOKEN_OF[bytes([byte])] for byte in text.encode()], dtype=np.int32)

    def basin(self, ids: TokenArray) -> FloatArray:
        if not len(ids):
            return BACKGROUND_K
        mixed = 0.7 * point(VOCABULARY.token_bytes()[int(ids[0])][0] % 8) + 0.3 * point(1)
        return np.asarray(mixed)

    def influences(self, ids: TokenArray, top: int = 5) -> tuple[TokenInfluence, ...]:
        return ()


class Choir:
    """Kernels by name -> decoder, at the outcomes 0, 1, 2 in order, and a router over them."""

    def __init__(
        self,
        decoders: Mapping[str, Decoder],
        *,
        slots: int = 4,
        queue_max: int = 8,
        tokenizer_hashes: Mapping[str, str] | None = None,
        coordizer: Any = None,
        coordizer_folder: Path | None = None,
        vocabulary: Vocabulary = VOCABULARY,
        points: Sequence[FloatArray] | None = None,
        in_one_process: bool = False,
    ) -> None:
        self.points = points or [point(outcome) for outcome in range(len(decoders))]
        self.decoders = decoders
        shared, stack, loop = None, None, None
        if in_one_process:
            shared = KernelServer()
            first = next(iter(decoders.values()))
            stack = StackedBatch(KernelStack(first), end_id=END_ID, prefill_tokens=5)
        self.coordizer = coordizer or Bytes()
        self.kernels = {}
        self.servers = {}
        for name, each in decoders.items():
            loaded = LoadedKernel(
                decoder=each,
                config=each.config,
                tokenizer_hash=(tokenizer_hashes or {}).get(name, "t"),
                weights_hash="w",
                facts={},
            )
            engine = KernelEngine(
                loaded, vocabulary, prefill_tokens=5, prefix_bytes=10**6, stacked=stack
            )
            if stack is not None and shared is not None and loop is None:
                loop = StepLoop(engine.step, shared.thread)
            self.kernels[name] = KernelHost(
                name,
                engine,
                slots=slots,
                queue_max=queue_max,
                server=shared,
                loop=loop,
                partners=Partners(None),
                coordizer_folder=None if coordizer_folder is None else lambda _: coordizer_folder,
            )
            self.servers[name] = self.kernels[name].server
        self.router = RouterHost(Fixed(self.coordizer), RouterOptions(top_k=2), token=None)

    async def __aenter__(self) -> "Choir":
        background_K = self.coordizer.background_K
        endpoints = {
            server: await server.open(Bind(), stall_s=5.0)
            for server in dict.fromkeys(self.servers.values())
        }
        sites = [
            KernelSite(
                name=name,
                basin_K=point_K,
                bearing_K=bearing(point_K, background_K),
                radii=dict.fromkeys(Rule, 3.0),
                endpoint=endpoints[server],
            )
            for point_K, (name, server) in zip(self.points, self.servers.items(), strict=True)
        ]
        self.table = Table(
            version=1,
            coordizer_hash=self.coordizer.hash,
            background_K=background_K,
            temperatures=dict.fromkeys(Rule, TEMPERATURE),
            sites=tuple(sites),
        )
        await self.router.update(Snapshot(table=self.table, health={}, registry_pid=1))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.router._links.close()
        for server in dict.fromkeys(self.servers.values()):
            await server.stop(grace_s=0)

    async def ask(
        self, text: str, sampling: Sampling, options: RoutingOptions
    ) -> tuple[Route, kernel_pb2.KernelGenerateReply]:
        route, reply = await self.router.ask(text, sampling, options, timeout_s=20)
        return route, kernel_pb2.KernelGenerateReply.FromString(reply)

    @staticmethod
    def read(reply: bytes) -> kernel_pb2.KernelGenerateReply:
        return kernel_pb2.KernelGenerateReply.FromString(reply)

    def busy(self) -> dict[str, tuple[int, int, int]]:
        """Return what runs, what waits and what lies in the batch of each kernel."""
        described = {name: kernel.describe() for name, kernel in self.kernels.items()}
        return {
            name: (each.num_running, each.queue_depth, len(self.kernels[name].engine._batch))  # type: ignore[attr-defined]
            for name, each in described.items()
        }

    async def settled(self) -> None:
        """Wait until nothing runs anywhere; fails after five seconds."""
        async with asyncio.timeout(5):
            while any(any(counts) for counts in self.busy().values()):  # noqa: ASYNC110
                await asyncio.sleep(0)


def sing(story: Callable[[Choir], Coroutine[Any, Any, None]], *args: Any, **limits: Any) -> None:
    async def tell() -> None:
        async with Choir(*args, **limits) as choir:
            await story(choir)

    asyncio.run(tell())


@torch.inference_mode()
def logits_of(network: Decoder, tokens: list[int]) -> FloatArray:
    """Return the logits after all of these tokens, by one whole forward pass."""
    return network(torch.tensor([tokens]))[0, -1].double().numpy()


@torch.inference_mode()
def nats_of(network: Decoder, tokens: list[int]) -> FloatArray:
    """Return -ln p of every token but the first, by one whole forward pass."""
    log_p_TV = network(torch.tensor([tokens]))[0].double().log_softmax(-1)
    following = torch.tensor(tokens[1:])
    return -log_p_TV[:-1].gather(1, following[:, None])[:, 0].numpy()
