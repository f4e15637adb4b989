"""gRPC service by which nodes deliver blobs to each other, and its client.

Knows blobs only by sha256, so that nothing but a file named by its content can be asked for.
"""

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, Final

import grpc

from constellation.errors import InvalidRequest, Overloaded
from constellation.v1 import blobs_pb2
from constellation.wire import channel, error_status, services
from constellation.wire.tls import ClientTls

CHUNK_BYTES: Final = 2**20
"""Most bytes of one reply."""
STREAMS_MAX: Final = 16
"""Blobs that a node delivers at a time; more are refused, and the caller asks another node."""
STALL_S: Final = 20.0
"""Seconds after which a caller that reads nothing is given up."""
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_RETRY_S: Final = 0.5


class BlobAbsent(Exception):
    """A node does not have a blob; another node may."""


class BlobServicer:
    """Sends blobs of this node to other nodes.

    Args:
        find: Returns the path of a whole blob by its sha256; None when this node does not have it.
        count_sent: Gets the number of bytes of every reply.
    """

    def __init__(
        self,
        find: Callable[[str], Path | None],
        *,
        count_sent: Callable[[int], object] = lambda num_bytes: None,
    ) -> None:
        self._find = find
        self._count_sent = count_sent
        self._num_streams = 0

    async def Get(  # noqa: N802 - the name of the RPC
        self, request: blobs_pb2.BlobGetRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """Send a blob from an offset on, or that this node does not have the blob.

        Raises:
            InvalidRequest: This is no sha256.
            Overloaded: This node delivers as many blobs as it may.
        """
        if _HASH.fullmatch(request.sha256) is None:
            raise InvalidRequest("sha256", request.sha256[:80], "64 characters of 0-9 and a-f")
        if self._num_streams >= STREAMS_MAX:
            raise Overloaded(
                "this node",
                depth=self._num_streams,
                retry_after_s=_RETRY_S,
                counted="blobs under way to other nodes",
            )
        self._num_streams += 1
        try:
            await self._send(request, context)
        finally:
            self._num_streams -= 1

    async def _send(
        self, request: blobs_pb2.BlobGetRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        file = await asyncio.to_thread(self._open, request.sha256)
        if file is None:
            await services.write(context, blobs_pb2.BlobGetReply(absent=True), stall_s=STALL_S)
            return
        try:
            offset = request.offset
            while data := await asyncio.to_thread(os.pread, file, CHUNK_BYTES, offset):
                reply = blobs_pb2.BlobGetReply(data=data)
                await services.write(context, reply, stall_s=STALL_S)
                self._count_sent(len(data))
                offset += len(data)
        finally:
            os.close(file)

    def _open(self, sha256: str) -> int | None:
        path = self._find(sha256)
        try:
            if path is not None:
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:  # it was removed meanwhile, or cannot be read
            pass
        return None


class BlobClient:
    """Asks one node for blobs, over one connection that is opened when it is first needed.

    Args:
        endpoint: host:port of the node's service.
        token: Secret that the call carries; None for a server without one.
        tls: Files for TLS; None for an unencrypted connection.
    """

    def __init__(self, endpoint: str, token: str | None, tls: ClientTls | None = None) -> None:
        self.endpoint = endpoint
        self._metadata = channel.credentials(token)
        self._tls = tls
        self._channel: grpc.aio.Channel | None = None

    async def read(self, sha256: str, offset: int, timeout_s: float) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a blob from `offset` on.

        Raises:
            BlobAbsent: The node does not have the blob.
            RequestError: The node does not deliver; the class says why, as for every call.
        """
        if self._channel is None:
            self._channel = channel.open_async_channel(self.endpoint, self._tls)
        stub = services.Stub(self._channel, services.BLOBS)
        request = blobs_pb2.BlobGetRequest(sha256=sha256, offset=offset)
        call = stub.Get(request, timeout=timeout_s, metadata=self._metadata)
        try:
            async for reply in call:
                if reply.absent:
                    raise BlobAbsent(f"{self.endpoint} does not have blob {sha256}")
                yield reply.data
        except grpc.aio.AioRpcError as error:
            raise error_status.from_rpc_error(
                error, endpoint=self.endpoint, limit_bytes=channel.MESSAGE_BYTES_MAX
            ) from error
        finally:
            call.cancel()

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            await self._channel.close(None)
            self._channel = None
