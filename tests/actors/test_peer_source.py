"""Other machines as sources: every way in which they fail is a named fault, over real gRPC."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from actors.node.peer_source import PeerSource
from constellation.errors import ArtifactError
from constellation.releases.blob_cache import BlobCache
from constellation.releases.blob_sources import Fault
from constellation.releases.blob_transfer import Attempt, TransferLimits
from constellation.releases.manifest import Blob
from constellation.wire import blob_service, channel, services
from constellation.wire.blob_service import BlobClient, BlobServicer
from constellation.wire.channel import Bind

CONTENT = bytes(range(256)) * 40_000
BLOB = Blob(sha256=hashlib.sha256(CONTENT).hexdigest(), size_bytes=len(CONTENT))
TOKEN = "a token of sixteen"
LIMITS = TransferLimits(stall_s=0.5, num_rounds=1, pause_s=0.0)


class Machine:
    """Delivers one file by gRPC until it is switched off."""

    def __init__(self, folder: Path, content: bytes = CONTENT) -> None:
        folder.mkdir()
        self.path = folder / BLOB.sha256
        self.path.write_bytes(content)
        self.sent = asyncio.Event()
        self.num_sent = 0
        self._server: object = None

    def count(self, num_bytes: int) -> None:
        self.num_sent += num_bytes
        self.sent.set()

    def find(self, sha256: str) -> Path | None:
        return self.path if self.path.exists() else None

    @asynccontextmanager
    async def on(self) -> AsyncGenerator[PeerSource, None]:
        servicer = BlobServicer(self.find, count_sent=self.count)
        handler = services.handlers(services.BLOBS, servicer, services.Guard(lambda reason: None))
        names = [services.BLOBS.full_name]
        self._server, endpoint = await channel.serve(Bind(token=TOKEN), [handler], names)
        client = BlobClient(endpoint, TOKEN)
        try:
            yield PeerSource(client)
        finally:
            await client.close()
            await self.off()

    async def off(self) -> None:
        await self._server.stop(None)  # type: ignore[attr-defined]


async def fetch(folder: Path, *sources: PeerSource) -> tuple[bytes, list[str]]:
    attempts: list[Attempt] = []
    cache = BlobCache(folder / "cache", limits=LIMITS, note=attempts.append)
    async with cache.held(BLOB, sources) as path:
        return path.read_bytes(), [each.outcome for each in attempts]


def faulty(tmp_path: Path, content: bytes) -> list[str]:
    """Fetch from a machine whose file is another one, and then from one whose file is right."""

    async def both() -> tuple[bytes, list[str]]:
        bad, good = Machine(tmp_path / "bad", content), Machine(tmp_path / "good")
        async with bad.on() as first, good.on() as second:
            return await fetch(tmp_path, first, second)

    arrived, outcomes = asyncio.run(both())
    assert arrived == CONTENT
    return outcomes


def test_a_damaged_file_of_a_machine_is_replaced_by_that_of_another(tmp_path: Path) -> None:
    flipped = bytearray(CONTENT)
    flipped[len(flipped) // 2] ^= 1
    assert faulty(tmp_path, bytes(flipped)) == [Fault.DAMAGED, "ok"]


def test_a_short_file_of_a_machine_is_completed_by_another(tmp_path: Path) -> None:
    assert faulty(tmp_path, CONTENT[: 3 * 2**20]) == [Fault.SHORT, "ok"]


def test_a_long_file_of_a_machine_is_given_up(tmp_path: Path) -> None:
    assert faulty(tmp_path, CONTENT + b"more") == [Fault.LONG, "ok"]


def test_a_machine_that_is_switched_off_midway_is_followed_by_another(tmp_path: Path) -> None:
    async def both() -> tuple[bytes, list[str], int]:
        dying, living = Machine(tmp_path / "dying"), Machine(tmp_path / "living")
        async with dying.on() as first, living.on() as second:
            fetching = asyncio.ensure_future(fetch(tmp_path, first, second))
            await dying.sent.wait()
            await dying.off()
            arrived, outcomes = await fetching
            return arrived, outcomes, living.num_sent

    arrived, outcomes, num_sent = asyncio.run(both())
    assert arrived == CONTENT
    assert outcomes == [Fault.BROKEN, "ok"]
    assert num_sent < len(CONTENT)  # it went on where the other one ended


def only_fault(tmp_path: Path, *, token: str = TOKEN, gone: bool = False) -> str:
    async def one() -> None:
        machine = Machine(tmp_path / "machine")
        async with machine.on() as source:
            if gone:
                machine.path.unlink()
            client = BlobClient(source.name.removeprefix("node "), token)
            try:
                await fetch(tmp_path, PeerSource(client))
            finally:
                await client.close()

    with pytest.raises(ArtifactError) as error:
        asyncio.run(one())
    return str(error.value)


def test_a_wrong_token_is_refused(tmp_path: Path) -> None:
    assert f": {Fault.REFUSED} (" in only_fault(tmp_path, token="another token of a caller")


def test_a_file_that_a_machine_does_not_have_is_absent(tmp_path: Path) -> None:
    assert f": {Fault.ABSENT} (" in only_fault(tmp_path, gone=True)


def test_a_machine_that_delivers_as_much_as_it_may_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_service, "STREAMS_MAX", 0)
    assert f": {Fault.REFUSED} (" in only_fault(tmp_path)


def test_a_machine_that_is_off_is_unreachable(tmp_path: Path) -> None:
    async def one() -> None:
        async with Machine(tmp_path / "machine").on() as source:
            endpoint = source.name.removeprefix("node ")
        client = BlobClient(endpoint, TOKEN)
        try:
            await fetch(tmp_path, PeerSource(client))
        finally:
            await client.close()

    with pytest.raises(ArtifactError, match=f": {Fault.UNREACHABLE} "):
        asyncio.run(one())


def test_a_machine_that_takes_connections_and_says_nothing_stalls(tmp_path: Path) -> None:
    async def one() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            client = BlobClient(f"127.0.0.1:{port}", TOKEN)
            try:
                await fetch(tmp_path, PeerSource(client))
            finally:
                await client.close()

    with pytest.raises(ArtifactError, match=f": ({Fault.STALLED}|{Fault.UNREACHABLE}) "):
        asyncio.run(one())
