"""Kernels of one process behind one server, without Ray: what tests of `KernelGroup` share."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from actors.kernel.kernel_group import KernelGroup
from actors.kernel_connections import KernelLinks, typed_loss
from actors.spec import DeploymentSpec, KernelOptions, RouterDoors, RouterOptions
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.vocabulary import END_ID
from constellation.kernel.files.checkpoint import load_kernel, save_kernel
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing.generation import Generation
from constellation.kernel.writing.stacked_batch import StackedBatch
from constellation.records import KernelSite, Rule, Sampling, Table
from constellation.releases.store import ReleaseStore
from constellation.v1 import kernel_pb2
from constellation.wire.channel import Bind
from tests.support.released import release

STACKED = ("a", "b", "c")
SAMPLING = Sampling(tokens_max=10, temperature=0)
PROMPT = [40, 50, 60, 41, 51]


def one_process(folder: Path, coordizer: Coordizer) -> DeploymentSpec:
    """Return a deployment with room for eight kernels in a process, and no kernel yet."""
    coordizer.save(folder / "artifacts" / "coordizer")
    return DeploymentSpec(
        namespace="test",
        artifacts=folder / "artifacts",
        run_dir=folder / "run",
        routers=(RouterDoors(member="router", listen=("127.0.0.1", 0)),),
        router=RouterOptions(),
        kernel=KernelOptions(per_actor=8),
    )


def save(
    spec: DeploymentSpec,
    coordizer: Coordizer,
    name: str,
    *,
    seed: int,
    tokenizer_hash: str | None = None,
    **changes: Any,
) -> None:
    config = KernelConfig(
        vocab_size=coordizer.vocab_size,
        width=32,
        num_layers=2,
        num_heads=2,
        mlp_width=40,
        context=64,
        init_std=0.4,
    )
    decoder = Decoder(replace(config, **changes), seed=seed)
    folder = spec.artifacts / "kernels" / name
    spoken = tokenizer_hash or coordizer.tokenizer_hash
    save_kernel(folder, decoder, tokenizer_hash=spoken, facts={})


def publish(spec: DeploymentSpec) -> int:
    """Make what lies among the artifacts the current release; return its number."""
    kernels = spec.artifacts / "kernels"
    return release(spec.artifacts, sorted(path.name for path in kernels.iterdir()))


def decoder_of(spec: DeploymentSpec, name: str) -> Decoder:
    return load_kernel(spec.artifacts / "kernels" / name).decoder


def alone(spec: DeploymentSpec, coordizer: Coordizer, name: str) -> str:
    generation = Generation(decoder_of(spec, name), PROMPT, SAMPLING, END_ID)
    while generation.step() is not None:
        pass
    return coordizer.decode(generation.produced).decode(errors="replace")


class Sky:
    """A group that serves, and a router's ways to it."""

    def __init__(self, spec: DeploymentSpec) -> None:
        self.group = KernelGroup(spec)
        self.links = KernelLinks(None, grace_s=1)
        self.endpoint = ""
        self.release = 0

    async def start(self, *names: str) -> None:
        """Serve these kernels of a release of all that lie among the artifacts."""
        self.release = publish(self.group._spec)
        await self.group.load(names, self.release)
        self.endpoint = await self.group.server.open(Bind(), stall_s=5)
        self.follow(*names)

    def follow(self, *names: str) -> None:
        point_K = np.full(64, 1 / 64)
        sites = tuple(
            KernelSite(
                name=name,
                basin_K=point_K,
                bearing_K=point_K,
                radii=dict.fromkeys(Rule, 1.0),
                endpoint=self.endpoint,
            )
            for name in names
        )
        temperatures = dict.fromkeys(Rule, 1.0)
        self.links.follow(
            Table(
                version=1,
                coordizer_hash="",
                background_K=point_K,
                temperatures=temperatures,
                sites=sites,
            )
        )

    async def join(self, name: str) -> None:
        await self.group.join(name, self.release)

    async def stop(self) -> None:
        await self.links.close()
        await self.group.server.stop(grace_s=0)

    async def ask(self, kernel: str, *, tokens_max: int = 10) -> str:
        try:
            reply = await self.links.to(kernel).ask(request(kernel, tokens_max=tokens_max), 20)
        except grpc.aio.AioRpcError as error:
            raise typed_loss(error, kernel) from error
        return kernel_pb2.KernelGenerateReply.FromString(reply).text

    async def score(self, kernel: str) -> float:
        request = kernel_pb2.KernelScoreRequest(tokens=PROMPT, kernel=kernel)
        return (await self.links.to(kernel).score(request, 20)).nats

    def stacks(self) -> list[StackedBatch]:
        return list(self.group._loops)


def request(kernel: str, *, tokens_max: int) -> kernel_pb2.KernelGenerateRequest:
    made = kernel_pb2.KernelGenerateRequest(tokens=PROMPT, kernel=kernel)
    made.sampling.tokens_max = tokens_max
    made.sampling.temperature = 0.0
    return made


def run(spec: DeploymentSpec, story: Callable[[Sky], Coroutine[Any, Any, None]]) -> None:
    async def tell() -> None:
        sky = Sky(spec)
        try:
            await story(sky)
        finally:
            await sky.stop()

    asyncio.run(tell())


def blob(spec: DeploymentSpec, version: int, kernel: str) -> Path:
    """Return where the weights of a kernel of a release lie."""
    store = ReleaseStore(spec.artifacts)
    store.folder(version)
    return store.blobs.path(store.read(version).kernel(kernel).files["weights.safetensors"])


def damage(path: Path, content: bytes) -> None:
    """Change a file that is never changed."""
    path.chmod(0o644)
    path.write_bytes(content)
