"""A source of blobs that fails in the way that a test says."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable

from constellation.releases.blob_sources import Fault, SourceFailed
from constellation.releases.manifest import Blob

CONTENT = bytes(range(256)) * 12 + b"the end"
BLOB = Blob(sha256=hashlib.sha256(CONTENT).hexdigest(), size_bytes=len(CONTENT))
CHUNK = 500

Script = Callable[[bytes, int], AsyncGenerator[bytes, None]]


class ScriptedSource:
    """Delivers `CONTENT` by a script, and notes from which offsets it was asked."""

    kind = "store"

    def __init__(self, name: str, script: Script) -> None:
        self.name = name
        self.offsets: list[int] = []
        self._script = script

    async def read(self, blob: Blob, offset: int) -> AsyncGenerator[bytes, None]:
        self.offsets.append(offset)
        async for chunk in self._script(CONTENT, offset):
            yield chunk


async def whole(content: bytes, offset: int) -> AsyncGenerator[bytes, None]:
    for start in range(offset, len(content), CHUNK):
        yield content[start : start + CHUNK]


async def absent(content: bytes, offset: int) -> AsyncGenerator[bytes, None]:
    raise SourceFailed(Fault.ABSENT, "gone")
    yield b""


async def refused(content: bytes, offset: int) -> AsyncGenerator[bytes, None]:
    raise SourceFailed(Fault.REFUSED, "wrong token")
    yield b""


async def unreachable(content: bytes, offset: int) -> AsyncGenerator[bytes, None]:
    raise SourceFailed(Fault.UNREACHABLE, "no route")
    yield b""


async def stalls(content: bytes, offset: int) -> AsyncGenerator[bytes, None]:
    yield content[offset : offset + CHUNK]
    await asyncio.Event().wait()


async def trickles(content: bytes, offset: int) -> AsyncGenerator[bytes, None]:
    while True:
        await asyncio.sleep(0.01)
        yield b""


async def breaks(content: bytes, offset: int) -> AsyncGenerator[bytes, None]:
    yield content[offset : offset + CHUNK]
    raise SourceFailed(Fault.BROKEN, "connection lost")


async def ends_early(content: bytes, offset: int) -> AsyncGenerator[bytes, None]:
    yield content[offset:-1]


async def goes_on(content: bytes, offset: int) -> AsyncGenerator[bytes, None]:
    yield content[offset:]
    yield b"more"


async def lies(content: bytes, offset: int) -> AsyncGenerator[bytes, None]:
    yield bytes(len(content) - offset)


async def lies_and_breaks(content: bytes, offset: int) -> AsyncGenerator[bytes, None]:
    yield bytes(CHUNK)
    raise SourceFailed(Fault.BROKEN, "connection lost")


FAULTY: dict[Fault, Script] = {
    Fault.ABSENT: absent,
    Fault.REFUSED: refused,
    Fault.UNREACHABLE: unreachable,
    Fault.STALLED: stalls,
    Fault.BROKEN: breaks,
    Fault.SHORT: ends_early,
    Fault.LONG: goes_on,
    Fault.DAMAGED: lies,
}
