"""Records of domains as files: nothing is lost, one record has one form, damage is noticed."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.domains.record import Domain, Spawned, make_domain
from constellation.domains.record_file import pack_domain, unpack_domain
from constellation.errors import ArtifactError
from tests.domains.material import coordizer, domain, fitted_bits, texts


def small() -> Domain:
    return make_domain("bake", texts("bake", 3), texts("bake", 1, seed=1), coordizer())


SMALL = pack_domain(small())


@pytest.mark.slow
def test_a_record_comes_back_to_the_bit() -> None:
    before = replace(domain("bake"), unlearned=("é.txt#1",), phi_gauge=0.1)
    data = pack_domain(before)
    after = unpack_domain(data)
    assert pack_domain(after) == data
    assert (after.unlearned, after.phi_gauge) == (before.unlearned, before.phi_gauge)
    assert fitted_bits([after, domain("sail")]) == fitted_bits([before, domain("sail")])


def test_a_spawned_record_comes_back() -> None:
    empty = domain("bake").train.select([])
    spawned = Spawned(parent="bake", documents_N=np.array([1, 4, 7]))
    before = replace(
        domain("bake"), name="rye", train=empty, dev=empty, counts=None, spawned=spawned
    )
    after = unpack_domain(pack_domain(before))
    assert after.spawned is not None
    assert after.spawned.parent == "bake"
    assert after.spawned.documents_N.tolist() == [1, 4, 7]


def test_the_same_record_gives_the_same_bytes() -> None:
    assert pack_domain(small()) == SMALL


@given(st.integers(0, len(SMALL) - 1), st.integers(1, 255))
def test_every_changed_byte_is_noticed(place: int, change: int) -> None:
    damaged = bytearray(SMALL)
    damaged[place] ^= change
    with pytest.raises(ArtifactError):
        unpack_domain(bytes(damaged))


def test_every_changed_byte_of_the_envelope_is_noticed() -> None:
    for place in range(80):
        for change in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            damaged = bytearray(SMALL)
            damaged[place] ^= change
            with pytest.raises(ArtifactError):
                unpack_domain(bytes(damaged))


@given(st.integers(0, len(SMALL) - 1))
def test_half_a_file_is_noticed(size: int) -> None:
    with pytest.raises(ArtifactError, match=r"my\.file"):
        unpack_domain(SMALL[:size], source="my.file")


def test_bytes_after_the_record_are_noticed() -> None:
    with pytest.raises(ArtifactError):
        unpack_domain(SMALL + b"\0")


def test_tokens_take_two_bytes_where_the_vocabulary_allows() -> None:
    record = domain("bake")
    assert record.train.tokens_T.dtype == np.uint16
    assert len(record.train.rest_T) < len(record.train.tokens_T) / 2
