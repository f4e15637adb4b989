"""How long does a second node take to fetch a whole release from the first one?

    python -m benchmarks.blobs [--artifacts FOLDER] [--runs 5] [--json]

Two machines are played by two folders and two processes: the first delivers the blobs of the
current release by gRPC with a token, the second fetches them, verifies every sha256, writes them to
its disk (fsync) and lays out the release. Everything that a node does is done except the start of
Ray's actors. Every run begins with an empty folder; the files of the first machine are in the page
cache. Low is good, by the median.

`--probe` also writes and flushes the same blobs by plain copies: what the disk alone takes.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from actors.folders import NodeFolder
from actors.node.host import NodeHost
from actors.node.peer_source import PeerSource
from constellation.records import Node
from constellation.releases.blob_sources import Source
from constellation.releases.manifest import Release
from constellation.releases.store import ReleaseStore
from constellation.wire import channel, services
from constellation.wire.blob_service import BlobClient, BlobServicer
from constellation.wire.channel import Bind

TOKEN = "the token of this benchmark"
BAR_S = 10.0


def host(folder: Path, artifacts: Path) -> NodeHost:
    """Return a machine with a folder of its own."""
    node = Node(id=folder.name, address="localhost", memory_bytes=2**30)
    return NodeHost(node, NodeFolder(folder), artifacts)


def deliver(artifacts: Path, folder: Path, told: Connection) -> None:
    """Deliver the blobs of an artifacts folder until the other end is closed."""

    async def serve() -> None:
        servicer = BlobServicer(host(folder, artifacts).find_blob)
        handler = services.handlers(services.BLOBS, servicer, services.Guard(lambda reason: None))
        names = [services.BLOBS.full_name]
        server, endpoint = await channel.serve(Bind(token=TOKEN), [handler], names)
        told.send(endpoint)
        await asyncio.to_thread(told.poll, None)
        await server.stop(None)

    asyncio.run(serve())


@contextmanager
def first_machine(artifacts: Path, folder: Path) -> Iterator[str]:
    """Run the machine that delivers; yield its host:port."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=deliver, args=(artifacts, folder, theirs))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        process.join()


async def fetch(endpoint: str, folder: Path, manifest: bytes, release: Release) -> float:
    """Fetch a whole release into an empty folder; return the seconds."""
    second = host(folder, folder / "no artifacts")
    client = BlobClient(endpoint, TOKEN)

    async def peers() -> Sequence[Source]:
        return [PeerSource(client)]

    started_s = time.perf_counter()
    found = await second.provide(manifest, sorted(folders_of(release)), peers)
    seconds = time.perf_counter() - started_s
    ReleaseStore(found).part(release.version, *folders_of(release))
    await client.close()
    return seconds


def folders_of(release: Release) -> set[str]:
    """Return the sub-folders of a release with files that processes of kernels read."""
    return {path.rpartition("/")[0] for path in release.files() if "/" in path} - {"domains"}


def copy(release: Release, store: ReleaseStore, folder: Path) -> float:
    """Copy and flush the same blobs; return the seconds."""
    folder.mkdir()
    started_s = time.perf_counter()
    for blob in release.blobs():
        target = folder / blob.sha256
        shutil.copyfile(store.blobs.path(blob), target)
        with target.open("rb") as file:
            os.fsync(file.fileno())
    return time.perf_counter() - started_s


def measure(artifacts: Path, num_runs: int, *, probe: bool) -> dict[str, object]:
    """Return the seconds of every run, their median and the rate."""
    store = ReleaseStore(artifacts)
    release = store.read_current()
    manifest = store.manifest(release.version)
    files = {
        blob
        for path, blob in release.files().items()
        if path.rpartition("/")[0] in folders_of(release)
    }
    size = sum(blob.size_bytes for blob in files)
    with tempfile.TemporaryDirectory(dir=artifacts.parent) as name:
        work = Path(name)
        with first_machine(artifacts.resolve(), work / "first") as endpoint:
            seconds = [
                asyncio.run(fetch(endpoint, work / f"second-{run}", manifest, release))
                for run in range(num_runs)
            ]
        copies = [copy(release, store, work / f"copy-{run}") for run in range(num_runs * probe)]
    median = statistics.median(seconds)
    return {
        "blobs": len(files),
        "bytes": size,
        "seconds": [round(each, 3) for each in seconds],
        "median_s": round(median, 3),
        "mb_per_s": round(size / 1e6 / median, 1),
        "bar_s": BAR_S,
        "within_bar": median <= BAR_S,
        "plain_copy_s": round(statistics.median(copies), 3) if copies else None,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts/starter"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--probe", action="store_true", help="also time plain copies")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.artifacts, options.runs, probe=options.probe)
    if options.json:
        print(json.dumps({"machine": platform.platform(), "cores": os.cpu_count(), **found}))
        return
    print(
        f"{found['blobs']} blobs, {found['bytes']} bytes to a second node: "
        f"{found['median_s']} s (median of {found['seconds']}; low is good, at most {BAR_S:.0f}), "
        f"{found['mb_per_s']} MB/s"
    )
    if found["plain_copy_s"] is not None:
        print(f"plain copies of the same blobs, flushed: {found['plain_copy_s']} s")


if __name__ == "__main__":
    main()
