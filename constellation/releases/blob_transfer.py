"""Complete one blob from several sources: the next source goes on where the last one ended.

Nothing that a source delivers is trusted before the whole blob has the right size and sha256. When
the bytes of several sources together are damaged, no source is blamed before each of them was asked
for the whole blob alone. This file knows no folder of blobs and no network.
"""

import asyncio
import hashlib
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import BinaryIO, Final

from constellation.errors import ArtifactError
from constellation.releases.blob_sources import CHUNK_BYTES, Fault, Source, SourceFailed
from constellation.releases.manifest import Blob

logger = logging.getLogger(__name__)

OK: Final = "ok"
"""Outcome of an attempt that completed the blob."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferLimits:
    """How long a source may take, and how often all sources are asked."""

    stall_s: float = 5.0
    """Seconds within which a source must deliver the next bytes."""
    rate_min: float = 2**18
    """Bytes per second that a source must deliver in the mean, after `start_s`."""
    start_s: float = 10.0
    """Seconds that any blob may take."""
    num_rounds: int = 3
    """Times that all sources are asked: one that was restarting answers in the next round."""
    pause_s: float = 0.5
    """Seconds between two rounds."""

    def limit_s(self, num_bytes: int) -> float:
        """Return the seconds in which a source must have delivered this many bytes."""
        return self.start_s + num_bytes / self.rate_min


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One question to one source."""

    source: str
    """Name of the source."""
    kind: str
    """Kind of the source."""
    outcome: str
    """A `Fault`, or "ok" when the blob was complete and undamaged afterwards."""
    reason: str
    """What went wrong; empty for "ok"."""
    num_bytes: int
    """Bytes that the source delivered."""
    seconds: float


Note = Callable[[Attempt], None]
"""Gets every attempt, for metrics."""


class PartialBlob:
    """The bytes of a blob that have arrived, in an open file that nothing else writes to."""

    def __init__(self, blob: Blob, file: BinaryIO) -> None:
        self.blob = blob
        self._file = file
        self._digest = hashlib.sha256()
        self.size_bytes = 0
        self._read_again()
        self.givers: list[Source | None] = [None] if self.size_bytes else []
        """Sources whose bytes are in the file; None for an earlier process."""

    def append(self, chunk: bytes) -> None:
        """Add bytes at the end.

        Raises:
            OSError: The disk does not take them.
        """
        self._file.write(chunk)
        self._digest.update(chunk)
        self.size_bytes += len(chunk)

    def cut(self, size_bytes: int) -> None:
        """Drop all bytes after the first `size_bytes`."""
        self._file.truncate(size_bytes)
        self._read_again()

    def restart(self) -> None:
        """Drop all bytes."""
        self.cut(0)
        self.givers.clear()

    @property
    def is_right(self) -> bool:
        """Whether the file holds exactly the blob."""
        if self.size_bytes != self.blob.size_bytes:
            return False
        return self._digest.hexdigest() == self.blob.sha256

    def _read_again(self) -> None:
        self._digest, self.size_bytes = hashlib.sha256(), 0
        self._file.seek(0)
        while chunk := self._file.read(CHUNK_BYTES):
            self._digest.update(chunk)
            self.size_bytes += len(chunk)


async def complete(
    part: PartialBlob,
    sources: Sequence[Source],
    *,
    limits: TransferLimits,
    note: Note = lambda attempt: None,
) -> None:
    """Complete a blob from sources, asked in this order.

    Args:
        part: What has arrived already; whole and verified afterwards.
        sources: Where the blob may be.
        limits: How long this may take.
        note: Gets every attempt.

    Raises:
        ArtifactError: No source delivered the blob; the message names every source and its fault.
        OSError: The blob cannot be written here.
    """
    if await asyncio.to_thread(_is_right_or_empty, part):
        return
    failed: dict[str, Attempt] = {}
    for number in range(limits.num_rounds):
        if number:
            await asyncio.sleep(limits.pause_s)
        if await _round(part, sources, limits, note, failed):
            return
    raise ArtifactError(
        f"blob {part.blob.sha256}", f"no source delivers it: {_described(failed.values())}"
    )


def _is_right_or_empty(part: PartialBlob) -> bool:
    """Return whether the blob is whole; drop bytes that cannot be its beginning."""
    if part.is_right:
        return True
    if part.size_bytes >= part.blob.size_bytes:
        part.restart()
    return part.is_right  # an empty blob


async def _round(
    part: PartialBlob,
    sources: Sequence[Source],
    limits: TransferLimits,
    note: Note,
    failed: dict[str, Attempt],
) -> bool:
    """Ask every source once, and alone if a mixture was damaged; return whether all has come."""
    waiting: deque[tuple[Source, bool]] = deque((source, False) for source in sources)
    asked_alone: set[str] = set()
    while waiting:
        source, alone = waiting.popleft()
        if alone:
            asked_alone.add(source.name)
            await asyncio.to_thread(part.restart)
        attempt = await _ask(part, source, limits)
        if attempt.outcome == Fault.DAMAGED:
            if part.givers != [source]:
                givers = [each for each in part.givers if each and each.name not in asked_alone]
                waiting.extendleft((each, True) for each in reversed(givers))
            await asyncio.to_thread(part.restart)
        note(attempt)
        if attempt.outcome == OK:
            return True
        failed[source.name] = attempt
        facts = {"blob": part.blob.sha256, "source": source.name, "fault": attempt.outcome}
        is_usual = attempt.outcome == Fault.ABSENT  # few sources have every blob
        logger.log(
            logging.INFO if is_usual else logging.WARNING,
            "source of a blob failed",
            extra={**facts, "reason": attempt.reason},
        )
    return False


async def _ask(part: PartialBlob, source: Source, limits: TransferLimits) -> Attempt:
    """Append what a source delivers, and judge the outcome."""
    started_s, before = time.monotonic(), part.size_bytes
    if not before:
        part.givers.clear()
    try:
        await _append_all(part, source, limits)
        outcome, reason = _verdict(part)
    except SourceFailed as error:
        outcome, reason = error.fault, error.reason
        if outcome is Fault.LONG:  # nothing that this source gave is worth keeping
            await asyncio.to_thread(part.cut, before)
    return Attempt(
        source=source.name,
        kind=source.kind,
        outcome=outcome,
        reason=reason,
        num_bytes=max(0, part.size_bytes - before),
        seconds=time.monotonic() - started_s,
    )


def _verdict(part: PartialBlob) -> tuple[str, str]:
    if part.size_bytes < part.blob.size_bytes:
        return Fault.SHORT, f"it ended after {part.size_bytes} of {part.blob.size_bytes} bytes"
    if not part.is_right:
        return Fault.DAMAGED, "the bytes have another sha256"
    return OK, ""


async def _append_all(part: PartialBlob, source: Source, limits: TransferLimits) -> None:
    left = part.blob.size_bytes - part.size_bytes
    try:
        async with (
            asyncio.timeout(limits.limit_s(left)),
            aclosing(source.read(part.blob, part.size_bytes)) as chunks,
        ):
            while (chunk := await _next(chunks, limits.stall_s)) is not None:
                if part.size_bytes + len(chunk) > part.blob.size_bytes:
                    raise SourceFailed(
                        Fault.LONG, f"it delivers more than {part.blob.size_bytes} bytes"
                    )
                if source not in part.givers:
                    part.givers.append(source)
                await asyncio.to_thread(part.append, chunk)
    except TimeoutError as error:
        raise SourceFailed(
            Fault.STALLED, f"it delivered less than {limits.rate_min:.0f} bytes per second"
        ) from error


async def _next(chunks: AsyncGenerator[bytes, None], stall_s: float) -> bytes | None:
    """Return the next bytes of a source; None at its end."""
    try:
        async with asyncio.timeout(stall_s):
            return await anext(chunks)
    except StopAsyncIteration:
        return None
    except TimeoutError as error:
        raise SourceFailed(Fault.STALLED, f"it delivered nothing for {stall_s:g} s") from error


def _described(attempts: Iterable[Attempt]) -> str:
    found = [f"{each.source}: {each.outcome} ({each.reason})" for each in attempts]
    return "; ".join(found) or "there is none"
