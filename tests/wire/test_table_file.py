"""The table's file: what was written is what is read, and damage is named."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import ArtifactError
from constellation.records import Rule, Table
from constellation.routing.policy import RoutingPolicy
from constellation.routing.refusal_rule import LENGTHS, SHARES
from constellation.wire.table_file import (
    TABLE_BYTES_MAX,
    load_table,
    pack_table,
    save_table,
    unpack_table,
)
from tests.routing.tables import basins, refusal, several, with_family
from tests.wire.fakes import make_table

TABLE = make_table()
PACKED = pack_table(TABLE)


def assert_same(left: Table, right: Table) -> None:
    assert left.version == right.version
    assert left.coordizer_hash == right.coordizer_hash
    assert left.temperatures == right.temperatures
    assert left.release == right.release
    assert np.array_equal(left.background_K, right.background_K)
    assert len(left.sites) == len(right.sites)
    for site, other in zip(left.sites, right.sites, strict=True):
        assert np.array_equal(site.basin_K, other.basin_K)
        assert np.array_equal(site.bearing_K, other.bearing_K)
        assert np.array_equal(site.basins_BK, other.basins_BK)
        assert np.array_equal(site.bearings_BK, other.bearings_BK)
        for name in ("name", "radii", "seat", "phi_gauge", "endpoint", "arrived", "num_held_out"):
            assert getattr(site, name) == getattr(other, name)


def test_a_table_survives_its_file_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "table.msgpack"
    save_table(path, TABLE)
    assert_same(load_table(path), TABLE)
    assert pack_table(load_table(path)) == PACKED


@given(st.integers(0, 10_000), st.lists(st.integers(1, 16), min_size=1, max_size=5))
def test_several_basins_families_and_arrivals_survive_bit_for_bit(
    seed: int, sizes: list[int]
) -> None:
    made = with_family(several(seed, tuple(sizes)), 0, seed + 99, "child")
    measured = replace(made.sites[0], arrived=0.75, num_held_out=40)
    made = replace(made, release=3, sites=(measured, *made.sites[1:]))
    read = unpack_table(pack_table(made))
    assert_same(read, made)
    assert pack_table(read) == pack_table(made)
    for site, other in zip(read.sites, made.sites, strict=True):
        assert (site.share is None) == (other.share is None)
        if site.share is not None and other.share is not None:
            assert site.share.family == other.share.family == made.sites[0].name
            assert np.array_equal(site.share.basin_K, other.share.basin_K)
            assert np.array_equal(site.share.bearing_K, other.share.bearing_K)
    query_K = basins(seed + 500, 1)[0]
    assert RoutingPolicy(read).decide(query_K, num_tokens=5) == RoutingPolicy(made).decide(
        query_K, num_tokens=5
    )


def test_a_table_of_lone_basins_has_nothing_that_an_older_one_lacks() -> None:
    packed = pack_table(several(0, (1, 1)))
    content = msgpack.unpackb(msgpack.unpackb(packed)["content"])
    assert "release" not in content
    assert not {"basins", "share", "arrived"} & set(content["sites"][0])
    (site, *_) = unpack_table(packed).sites
    assert (site.arrived, site.num_held_out, site.share) == (None, 0, None)


@pytest.mark.slow
def test_addresses_of_further_processes_survive_and_are_absent_where_there_are_none() -> None:
    more = replace(TABLE.sites[0], more_endpoints=("127.0.0.1:2", "127.0.0.1:3"))
    read = unpack_table(pack_table(replace(TABLE, sites=(more, *TABLE.sites[1:]))))
    assert read.sites[0].endpoints == (TABLE.sites[0].endpoint, "127.0.0.1:2", "127.0.0.1:3")
    assert read.sites[1].endpoints == (
        (TABLE.sites[1].endpoint,) if TABLE.sites[1].endpoint else ()
    )
    assert b"more_endpoints" not in PACKED


def test_a_table_that_would_not_be_read_is_not_written(tmp_path: Path) -> None:
    """What is served must still be there at the next start."""
    path = tmp_path / "table.msgpack"
    save_table(path, TABLE)
    site = TABLE.sites[0]
    size = len(pack_table(replace(TABLE, sites=(site,) * 2))) - len(
        pack_table(replace(TABLE, sites=(site,)))
    )
    most = TABLE_BYTES_MAX // size
    for num_kernels in (most + 2, most * 2):
        with pytest.raises(ArtifactError, match=f"of {num_kernels} kernels .* serve fewer"):
            save_table(path, replace(TABLE, sites=(site,) * num_kernels))
    assert_same(load_table(path), TABLE)
    assert list(tmp_path.iterdir()) == [path]
    save_table(path, replace(TABLE, sites=(site,) * (most - 2)))
    assert len(load_table(path).sites) == most - 2


def test_a_table_of_version_0_1_0_is_read_without_what_sites_have_no_more() -> None:
    envelope = msgpack.unpackb(PACKED)
    content = msgpack.unpackb(envelope["content"])
    content["sites"][0] |= {"unlearned": ["a.txt"], "thresholds": {}, "split": {"parent": "x"}}
    packed = msgpack.packb(content)
    digest = hashlib.sha256(packed).digest()
    data = bytes(msgpack.packb({"schema": 1, "sha256": digest, "content": packed}))
    assert_same(unpack_table(data), TABLE)
    assert pack_table(unpack_table(data)) == PACKED


def test_thresholds_survive_the_file_and_a_table_without_them_is_written_as_before(
    tmp_path: Path,
) -> None:
    path = tmp_path / "table.msgpack"
    made = refusal(1)
    save_table(path, replace(TABLE, refusal=made))
    back = load_table(path)
    assert back.refusal is not None
    left, right = back.refusal.thresholds, made.thresholds
    assert (left.lengths, left.shares) == (right.lengths, right.shares)
    for rule in Rule:
        assert left.excess[rule].tobytes() == right.excess[rule].tobytes()
        assert back.refusal.refused[rule].tobytes() == made.refused[rule].tobytes()
        assert back.refusal.caught[rule].tobytes() == made.caught[rule].tobytes()
    assert back.refusal.num_texts == made.num_texts
    assert back.refusal.num_documents == made.num_documents
    assert b"refusal" not in PACKED
    assert b"thresholds" not in PACKED


@pytest.mark.parametrize(
    "wrong",
    [
        {"lengths": (8, 4, *LENGTHS[2:])},
        {"lengths": (0, *LENGTHS[1:])},
        {"shares": (*SHARES[:-1], 1.0)},
        {"shares": (*SHARES[:-1], SHARES[0])},
        {"lengths": LENGTHS[:-1]},
        {"excess": {Rule.GEODESIC: refusal(1).thresholds.excess[Rule.GEODESIC]}},
    ],
)
def test_thresholds_that_fit_no_lengths_or_shares_are_named(wrong: dict[str, Any]) -> None:
    made = refusal(1)
    broken = replace(made, thresholds=replace(made.thresholds, **wrong))
    with pytest.raises(ArtifactError, match="not a kernel table"):
        unpack_table(pack_table(replace(TABLE, refusal=broken)))


def test_saving_leaves_nothing_but_the_table(tmp_path: Path) -> None:
    path = tmp_path / "table.msgpack"
    for _ in range(2):
        save_table(path, TABLE)
    assert os.listdir(tmp_path) == ["table.msgpack"]


def test_the_arrays_of_a_loaded_table_cannot_be_written() -> None:
    table = unpack_table(PACKED)
    with pytest.raises(ValueError, match="read-only"):
        table.background_K[0] = 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        load_table(tmp_path / "absent")
    assert caught.value.path == str(tmp_path / "absent")


@given(st.integers(0, len(PACKED) - 1))
def test_a_truncated_table_is_an_artifact_error(length: int) -> None:
    with pytest.raises(ArtifactError, match="table-7"):
        unpack_table(PACKED[:length], source="table-7")


@given(position=st.integers(0, len(PACKED) - 1), flip=st.integers(1, 255))
def test_every_damaged_byte_is_noticed(position: int, flip: int) -> None:
    damaged = bytearray(PACKED)
    damaged[position] ^= flip
    with pytest.raises(ArtifactError):
        unpack_table(bytes(damaged))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_table(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        unpack_table(data)


def _changed(**changes: Any) -> bytes:
    """Return a table with other content and a digest that fits it."""
    content = msgpack.packb(msgpack.unpackb(msgpack.unpackb(PACKED)["content"]) | changes)
    digest = hashlib.sha256(content).digest()
    return bytes(msgpack.packb({"schema": 1, "sha256": digest, "content": content}))


def test_the_digest_alone_does_not_refuse_a_table() -> None:
    assert unpack_table(_changed(version=8)).version == 8


@pytest.mark.parametrize(
    "changes",
    [
        {"fisher_rao_radius": 1},
        {"version": None},
        {"background": b"123"},
        {"background": "text"},
        {"temperatures": {"euclidean": 1.0}},
        {"temperatures": [1.0]},
        {"sites": [{}]},
        {"sites": 3},
    ],
)
def test_a_table_of_another_shape_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError):
        unpack_table(_changed(**changes))


def test_a_table_of_another_schema_is_refused_by_its_number() -> None:
    data = bytes(msgpack.packb(msgpack.unpackb(PACKED) | {"schema": 2}))
    with pytest.raises(ArtifactError, match="schema 2; this version reads 1"):
        unpack_table(data)
