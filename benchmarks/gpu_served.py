"""A process of stacked kernels and a router, as plain hosts without Ray, under load: part of `gpu`.

Answers join and leave all the time, some are cancelled, and in the middle a release is loaded and
switched to. Every answer that was not cancelled must come whole.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from actors.kernel.kernel_group import KernelGroup
from actors.registry_messages import Snapshot
from actors.router.host import RouterHost
from actors.spec import DeploymentSpec, KernelOptions, RouterDoors, RouterOptions
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.errors import ConstellationError
from constellation.kernel.files.checkpoint import save_kernel
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.records import RoutingOptions, Sampling, Table
from constellation.releases.release_coordizers import ReleasedCoordizers
from constellation.releases.store import ReleaseStore
from constellation.v1 import kernel_pb2
from constellation.wire.channel import Bind
from tests.support.released import release

CALLERS = 32
CANCELLED_SHARE = 0.1
DOCUMENTS = [
    "the ships sail over the sea and the harbour lies in the morning fog " * 8,
    "stars shine behind dark clouds while the moon rises over the hill " * 8,
    "the cook cuts onions, adds salt, and lets the soup boil for an hour " * 8,
    "a court hears both sides, weighs the evidence and gives its verdict " * 8,
]


@dataclass(slots=True)
class Counts:
    """What became of the calls."""

    tokens: int = 0
    answers: int = 0
    cancelled: int = 0
    failures: list[str] = field(default_factory=list)


async def served(
    folder: Path,
    config: KernelConfig,
    *,
    device: torch.device,
    dtype: torch.dtype,
    num_kernels: int,
    seconds: float,
) -> dict[str, object]:
    """Return the figures of a process that serves for some seconds."""
    names = [f"k{number:03}" for number in range(num_kernels)]
    spec, coordizer = _deployment(folder, device, dtype, num_kernels)
    config = replace(config, vocab_size=coordizer.vocab_size)
    first = _released(spec, coordizer, config, names, seed=0)
    group = KernelGroup(spec)
    await group.load(tuple(names), first)
    endpoint = await group.server.open(Bind(), stall_s=20)
    router = RouterHost(ReleasedCoordizers(spec.artifacts), RouterOptions(), token=None)
    await router.update(Snapshot(table=_table(spec, first, endpoint), health={}, registry_pid=1))
    counts, ends_s = Counts(), time.perf_counter() + seconds
    try:
        callers = [asyncio.create_task(_call(router, counts, n, ends_s)) for n in range(CALLERS)]
        await asyncio.sleep(seconds / 3)
        reloaded = await _reload(spec, group, router, coordizer, config, names, endpoint)
        await asyncio.sleep(seconds / 6)
        half = _used(device)
        await asyncio.gather(*callers)
        grown = _used(device) - half
    finally:
        await group.server.stop(grace_s=1)
    return {
        "served_failed": len(counts.failures),
        "served_failures": counts.failures[:3],
        "served_answers": counts.answers,
        "served_cancelled": counts.cancelled,
        "served_tokens_per_s": round(counts.tokens / seconds, 1),
        "served_reload_s": reloaded,
        "served_grown_bytes": grown,
    }


def _deployment(
    folder: Path, device: torch.device, dtype: torch.dtype, num_kernels: int
) -> tuple[DeploymentSpec, Coordizer]:
    coordizer = train_coordizer(DOCUMENTS, [str(n) for n in range(len(DOCUMENTS))], vocab_size=300)
    coordizer.save(folder / "artifacts" / "coordizer")
    (folder / "run").mkdir()
    options = KernelOptions(
        slots=4,
        queue_max=256,
        per_actor=max(2, num_kernels),
        device="cuda" if device.type == "cuda" else "cpu",
        weights="bfloat16" if dtype is torch.bfloat16 else "float32",
    )
    spec = DeploymentSpec(
        namespace="benchmark",
        artifacts=folder / "artifacts",
        run_dir=folder / "run",
        routers=(RouterDoors(member="router", listen=("127.0.0.1", 0)),),
        router=RouterOptions(),
        kernel=options,
    )
    return spec, coordizer


def _released(
    spec: DeploymentSpec,
    coordizer: Coordizer,
    config: KernelConfig,
    names: Sequence[str],
    *,
    seed: int,
) -> int:
    for number, name in enumerate(names):
        decoder = Decoder(config, seed=seed + number)
        folder = spec.artifacts / "kernels" / name
        save_kernel(folder, decoder, tokenizer_hash=coordizer.tokenizer_hash, facts={})
    return release(spec.artifacts, names)


def _table(spec: DeploymentSpec, version: int, endpoint: str) -> Table:
    store = ReleaseStore(spec.artifacts)
    table = store.table(store.read(version))
    sites = tuple(replace(site, endpoint=endpoint) for site in table.sites)
    return replace(table, version=version, sites=sites)


async def _reload(
    spec: DeploymentSpec,
    group: KernelGroup,
    router: RouterHost,
    coordizer: Coordizer,
    config: KernelConfig,
    names: Sequence[str],
    endpoint: str,
) -> float:
    """Switch to a release with other weights; return the seconds from its files to its service."""
    made = await asyncio.to_thread(_released, spec, coordizer, config, names, seed=1000)
    started = time.perf_counter()
    await group.load_next(made)
    await group.take_next(made)
    await router.update(Snapshot(table=_table(spec, made, endpoint), health={}, registry_pid=1))
    return round(time.perf_counter() - started, 2)


async def _call(router: RouterHost, counts: Counts, number: int, ends_s: float) -> None:
    """Ask again and again; cancel some of the answers."""
    chance = random.Random(number)
    while time.perf_counter() < ends_s:
        text = chance.choice(DOCUMENTS)[: chance.randint(20, 90)]
        temperature = chance.choice([0.0, 0.8])
        sampling = Sampling(
            tokens_max=chance.randint(4, 48), temperature=temperature, seed=number, top_p=0.95
        )
        try:
            await _answer(router, counts, text, sampling, chance.random() < CANCELLED_SHARE)
        except ConstellationError as error:
            counts.failures.append(f"{type(error).__name__}: {error}"[:300])


async def _answer(
    router: RouterHost, counts: Counts, text: str, sampling: Sampling, is_cancelled: bool
) -> None:
    stream = router.generate(text, sampling, RoutingOptions(), timeout_s=60)
    num_tokens = 0
    async for _, piece in stream:
        num_tokens += len(kernel_pb2.KernelGenerateReply.FromString(piece).tokens)
        if is_cancelled and num_tokens >= 2:
            counts.cancelled += 1
            with suppress(RuntimeError):
                await stream.aclose()
            break
    else:
        counts.answers += 1
    counts.tokens += num_tokens


def _used(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
