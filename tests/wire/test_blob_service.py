"""Nodes deliver blobs to each other by real gRPC: with the token, with TLS, from any offset."""

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from constellation.errors import (
    InvalidRequest,
    Overloaded,
    ServiceUnavailable,
    Unauthenticated,
)
from constellation.wire import blob_service, channel, services
from constellation.wire.blob_service import BlobAbsent, BlobClient, BlobServicer
from constellation.wire.channel import Bind
from constellation.wire.tls import ClientTls, ServerTls
from tests.support.certificates import Authority

CONTENT = bytes(range(256)) * 10_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TOKEN = "a token of sixteen"


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    path = tmp_path / SHA256
    path.write_bytes(CONTENT)
    return path


def only(path: Path) -> Callable[[str], Path | None]:
    return lambda sha256: path if sha256 == path.name else None


@asynccontextmanager
async def served(
    path: Path, bind: Bind | None = None, sent: list[int] | None = None
) -> AsyncGenerator[str, None]:
    """Deliver one blob; yield host:port."""
    servicer = BlobServicer(only(path), count_sent=lambda n: sent is None or sent.append(n))
    guard = services.Guard(lambda reason: None)
    handler = services.handlers(services.BLOBS, servicer, guard)
    server, endpoint = await channel.serve(bind or Bind(), [handler], [services.BLOBS.full_name])
    try:
        yield endpoint
    finally:
        await server.stop(None)
        assert guard.num_unexpected == 0


async def read(
    endpoint: str,
    sha256: str = SHA256,
    offset: int = 0,
    *,
    token: str | None = None,
    tls: ClientTls | None = None,
) -> bytes:
    client = BlobClient(endpoint, token, tls)
    try:
        return b"".join([chunk async for chunk in client.read(sha256, offset, timeout_s=5)])
    finally:
        await client.close()


def failing(blob: Path, expected: type[Exception], **asked: object) -> None:
    async def ask() -> None:
        async with served(blob, Bind(token=TOKEN)) as endpoint:
            await read(endpoint, **{"token": TOKEN, **asked})  # type: ignore[arg-type]

    with pytest.raises(expected):
        asyncio.run(ask())


@pytest.mark.parametrize("offset", [0, 1, 2**20, len(CONTENT) - 1, len(CONTENT), 2**40])
def test_a_blob_arrives_from_every_offset(blob: Path, offset: int) -> None:
    sent: list[int] = []

    async def ask() -> bytes:
        async with served(blob, sent=sent) as endpoint:
            return await read(endpoint, offset=offset)

    assert asyncio.run(ask()) == CONTENT[offset:]
    assert sum(sent) == len(CONTENT[offset:])
    assert max(sent, default=0) <= blob_service.CHUNK_BYTES


def test_a_blob_that_is_not_here_is_named(blob: Path) -> None:
    failing(blob, BlobAbsent, sha256="0" * 64)


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", SHA256.upper(), SHA256 + "0", "x" * 10**6]
)
def test_nothing_but_a_hash_can_be_asked_for(blob: Path, name: str) -> None:
    failing(blob, InvalidRequest, sha256=name)


@pytest.mark.parametrize("token", [None, "another token of a caller"])
def test_without_the_right_token_nothing_is_delivered(blob: Path, token: str | None) -> None:
    failing(blob, Unauthenticated, token=token)


def test_a_link_in_place_of_the_blob_is_not_followed(blob: Path, tmp_path: Path) -> None:
    secret = blob.rename(tmp_path / "secret")
    blob.symlink_to(secret)
    failing(blob, BlobAbsent)


def test_a_node_that_is_gone_is_unavailable(blob: Path) -> None:
    async def ask() -> None:
        async with served(blob) as endpoint:
            pass
        await read(endpoint)

    with pytest.raises(ServiceUnavailable):
        asyncio.run(ask())


def test_a_node_that_delivers_enough_at_once_refuses_more(
    blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_service, "STREAMS_MAX", 1)
    os.truncate(blob, 2**28)

    async def ask() -> None:
        async with served(blob) as endpoint:
            slow = BlobClient(endpoint, None).read(SHA256, 0, timeout_s=5)
            await anext(slow)
            try:
                await read(endpoint)
            finally:
                await slow.aclose()

    # The caller reads nothing beyond the first reply, and 256 MiB do not fit under way.
    with pytest.raises(Overloaded, match="blobs under way"):
        asyncio.run(ask())


def test_blobs_travel_by_mutual_tls_and_not_without(blob: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ours")
    node, other = authority.sign("node"), authority.sign("other")
    tls = ServerTls(certificate=node.certificate, key=node.key, client_ca=authority.file)
    known = ClientTls(ca=authority.file, certificate=other.certificate, key=other.key)

    async def ask(terms: ClientTls | None) -> bytes:
        async with served(blob, Bind(tls=tls)) as endpoint:
            return await read(endpoint, tls=terms)

    assert asyncio.run(ask(known)) == CONTENT
    for stranger in (ClientTls(ca=authority.file), None):
        with pytest.raises(ServiceUnavailable):
            asyncio.run(ask(stranger))


def test_a_reply_is_smaller_than_a_message_may_be() -> None:
    assert blob_service.CHUNK_BYTES < channel.MESSAGE_BYTES_MAX
