"""Another node as a source of blobs."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from constellation.errors import (
    ConstellationError,
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    RequestError,
    ServiceUnavailable,
    Unauthenticated,
)
from constellation.releases.blob_sources import Fault, SourceFailed
from constellation.releases.manifest import Blob
from constellation.wire.blob_service import BlobAbsent, BlobClient

CALL_S: Final = 3600.0
"""Seconds that one call may take at most; stalls are noticed by the receiver much earlier."""

_FAULTS: Final[dict[type[ConstellationError], Fault]] = {
    Unauthenticated: Fault.REFUSED,
    Overloaded: Fault.REFUSED,
    InvalidRequest: Fault.REFUSED,
    DeadlineExceeded: Fault.STALLED,
}


class PeerSource:
    """Delivers blobs that another node has.

    Args:
        client: Connection to the node.
    """

    kind: Final = "node"

    def __init__(self, client: BlobClient) -> None:
        self._client = client

    @property
    def name(self) -> str:
        """Name of the node for people."""
        return f"node {self._client.endpoint}"

    async def read(self, blob: Blob, offset: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a blob from `offset` on; as in `Source`."""
        begun = False
        try:
            async with aclosing(self._client.read(blob.sha256, offset, CALL_S)) as chunks:
                async for chunk in chunks:
                    begun = True
                    yield chunk
        except BlobAbsent as error:
            raise SourceFailed(Fault.ABSENT, str(error)) from error
        except RequestError as error:
            raise SourceFailed(_fault(error, begun=begun), str(error)) from error


def _fault(error: RequestError, *, begun: bool) -> Fault:
    if isinstance(error, ServiceUnavailable):
        return Fault.BROKEN if begun else Fault.UNREACHABLE
    return _FAULTS.get(type(error), Fault.BROKEN)
