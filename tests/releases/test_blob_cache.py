"""The cache of a node: within its limit, nothing in use evicted, every blob whole."""

import asyncio
import hashlib
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import ArtifactError, ConfigError
from constellation.releases.blob_cache import BlobCache
from constellation.releases.blob_sources import (
    BLOBS_PATH,
    FolderSource,
    Source,
    UriSource,
)
from constellation.releases.blob_transfer import Attempt, TransferLimits
from constellation.releases.manifest import Blob
from tests.releases.scripted_source import BLOB, CONTENT, ScriptedSource, absent, breaks, whole

QUICK = TransferLimits(stall_s=1.0, num_rounds=1, pause_s=0.0)


def store_of(folder: Path, *contents: bytes) -> list[Blob]:
    """Write blobs into a store; return them."""
    (folder / BLOBS_PATH).mkdir(parents=True, exist_ok=True)
    blobs = [Blob(sha256=hashlib.sha256(c).hexdigest(), size_bytes=len(c)) for c in contents]
    for blob, content in zip(blobs, contents, strict=True):
        (folder / BLOBS_PATH / blob.sha256).write_bytes(content)
    return blobs


def cache_of(folder: Path, bytes_max: int = 2**20, **options: Any) -> BlobCache:
    return BlobCache(folder / "cache", bytes_max=bytes_max, limits=QUICK, **options)


def fetch(cache: BlobCache, blob: Blob, sources: Sequence[Source]) -> bytes:
    async def read() -> bytes:
        async with cache.held(blob, sources) as path:
            return path.read_bytes()

    return asyncio.run(read())


def names(cache: BlobCache) -> set[str]:
    return {path.name for path in cache.folder.iterdir()}


def test_a_blob_is_fetched_once_and_then_here(tmp_path: Path) -> None:
    source = ScriptedSource("source", whole)
    cache = cache_of(tmp_path)
    assert not cache.has(BLOB)
    for _ in range(2):
        assert fetch(cache, BLOB, [source]) == CONTENT
    assert source.offsets == [0]
    assert names(cache) == {BLOB.sha256}
    assert cache.size_bytes() == len(CONTENT)


def test_nobody_else_reads_the_folder_and_nobody_writes_a_blob(tmp_path: Path) -> None:
    cache = cache_of(tmp_path)
    fetch(cache, BLOB, [ScriptedSource("source", whole)])
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    assert (cache.folder / BLOB.sha256).stat().st_mode & 0o777 == 0o444


def test_a_fetch_that_fails_leaves_no_blob_and_the_next_goes_on(tmp_path: Path) -> None:
    cache = cache_of(tmp_path)
    with pytest.raises(ArtifactError, match="broken"):
        fetch(cache, BLOB, [ScriptedSource("dying", breaks)])
    assert not cache.has(BLOB)
    source = ScriptedSource("source", whole)
    assert fetch(cache, BLOB, [source]) == CONTENT
    assert source.offsets == [500]


def test_the_blob_that_was_unused_longest_goes_first(tmp_path: Path) -> None:
    blobs = store_of(tmp_path, b"a" * 100, b"b" * 100, b"c" * 100)
    cache = cache_of(tmp_path, 250)
    source = FolderSource(tmp_path)
    for blob in blobs[:2]:
        fetch(cache, blob, [source])
    os.utime(cache.folder / blobs[0].sha256, ns=(1, 1))
    os.utime(cache.folder / blobs[1].sha256, ns=(2, 2))
    fetch(cache, blobs[0], [])  # used again
    fetch(cache, blobs[2], [source])
    assert names(cache) == {blobs[0].sha256, blobs[2].sha256}


def test_a_blob_that_is_held_is_not_evicted(tmp_path: Path) -> None:
    first, second = store_of(tmp_path, b"a" * 100, b"b" * 100)
    cache, source = cache_of(tmp_path, 150), FolderSource(tmp_path)

    async def hold_one_and_fetch_the_other() -> None:
        async with cache.held(first, [source]):
            with pytest.raises(ArtifactError, match=r"does not fit.*cluster\.cache_gb"):
                async with cache.held(second, [source]):
                    pass
            assert cache.has(first)

    asyncio.run(hold_one_and_fetch_the_other())
    fetch(cache, second, [source])
    assert not cache.has(first)


def test_a_blob_that_is_linked_into_a_release_is_not_evicted(tmp_path: Path) -> None:
    first, second = store_of(tmp_path, b"a" * 100, b"b" * 100)
    cache, source = cache_of(tmp_path, 150), FolderSource(tmp_path)
    fetch(cache, first, [source])
    os.link(cache.folder / first.sha256, tmp_path / "in use")
    with pytest.raises(ArtifactError, match="does not fit"):
        fetch(cache, second, [source])
    (tmp_path / "in use").unlink()
    assert fetch(cache, second, [source]) == b"b" * 100


def test_a_blob_larger_than_the_limit_is_refused_before_a_source_is_asked(tmp_path: Path) -> None:
    source = ScriptedSource("source", whole)
    with pytest.raises(ArtifactError, match="the limit is 100 bytes"):
        fetch(cache_of(tmp_path, 100), BLOB, [source])
    assert source.offsets == []


def test_a_cache_without_room_is_no_cache(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="from 1"):
        BlobCache(tmp_path, bytes_max=0)


def test_tasks_that_want_the_same_blob_fetch_it_once(tmp_path: Path) -> None:
    source = ScriptedSource("source", whole)
    cache = cache_of(tmp_path)

    async def want() -> bytes:
        async with cache.held(BLOB, [source]) as path:
            return path.read_bytes()

    async def want_often() -> list[bytes]:
        return await asyncio.gather(*(want() for _ in range(8)))

    assert asyncio.run(want_often()) == [CONTENT] * 8
    assert source.offsets == [0]


def _fetch_in_a_process(folder: Path, start: Any, fetched: Any) -> None:
    attempts: list[Attempt] = []
    cache = cache_of(folder, note=attempts.append)
    start.wait()
    content = fetch(cache, BLOB, [FolderSource(folder)])
    fetched.put((content == CONTENT, len(attempts)))


@pytest.mark.slow
def test_processes_that_want_the_same_blob_fetch_it_once(tmp_path: Path) -> None:
    store_of(tmp_path, CONTENT)
    context = multiprocessing.get_context("spawn")
    start, fetched = context.Barrier(3), context.Queue(3)
    workers = [
        context.Process(target=_fetch_in_a_process, args=(tmp_path, start, fetched))
        for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    found = [fetched.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert [right for right, _ in found] == [True] * 3
    assert sum(num_attempts for _, num_attempts in found) == 1


@given(st.integers(0, len(CONTENT) - 1), st.integers(0, 7))
def test_a_bit_flipped_anywhere_is_refused(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    flipped = bytearray(CONTENT)
    flipped[position] ^= 1 << bit
    (folder / BLOBS_PATH).mkdir(parents=True)
    (folder / BLOBS_PATH / BLOB.sha256).write_bytes(flipped)
    cache = cache_of(folder)
    with pytest.raises(ArtifactError, match="damaged"):
        fetch(cache, BLOB, [FolderSource(folder)])
    assert not cache.has(BLOB)


def test_a_store_at_a_uri_delivers(tmp_path: Path) -> None:
    (blob,) = store_of(tmp_path, CONTENT)
    cache = cache_of(tmp_path)
    assert fetch(cache, blob, [UriSource(tmp_path.as_uri())]) == CONTENT


def test_a_uri_goes_on_at_an_offset(tmp_path: Path) -> None:
    (blob,) = store_of(tmp_path, CONTENT)

    async def read() -> bytes:
        source = UriSource(tmp_path.as_uri())
        return b"".join([chunk async for chunk in source.read(blob, 1000)])

    assert asyncio.run(read()) == CONTENT[1000:]


@pytest.mark.parametrize("kind", [FolderSource, lambda folder: UriSource(folder.as_uri())])
def test_a_file_that_is_not_there_is_absent(tmp_path: Path, kind: Any) -> None:
    with pytest.raises(ArtifactError, match="absent"):
        fetch(cache_of(tmp_path), BLOB, [kind(tmp_path)])


def test_a_folder_or_a_link_in_place_of_a_blob_is_absent(tmp_path: Path) -> None:
    (tmp_path / BLOBS_PATH).mkdir(parents=True)
    (tmp_path / "secret").write_bytes(CONTENT)
    (tmp_path / BLOBS_PATH / BLOB.sha256).symlink_to(tmp_path / "secret")
    with pytest.raises(ArtifactError, match="absent"):
        fetch(cache_of(tmp_path), BLOB, [FolderSource(tmp_path)])


@pytest.mark.parametrize("uri", ["ftp://host/store", "relative/path"])
def test_a_uri_that_cannot_be_opened_is_refused_with_the_forms_that_can(uri: str) -> None:
    with pytest.raises(ConfigError, match="s3://BUCKET"):
        UriSource(uri)


def test_without_pyarrow_a_uri_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ConfigError, match="pip install pyarrow"):
        UriSource("s3://bucket/store")


def test_the_sources_are_asked_in_their_order(tmp_path: Path) -> None:
    (blob,) = store_of(tmp_path, CONTENT)
    attempts: list[Attempt] = []
    cache = cache_of(tmp_path, note=attempts.append)
    fetch(cache, blob, [ScriptedSource("first", absent), FolderSource(tmp_path)])
    assert [each.source for each in attempts] == ["first", str(tmp_path)]
