"""Words of domains that tokens were not learned from fall into pieces, and these count less."""

from dataclasses import replace

import numpy as np
import pytest

from constellation.domains.fit import FitOptions, fit, fit_coordizer
from constellation.domains.membership import add, retire
from constellation.domains.record import Domain, make_domain, unlearn
from constellation.domains.record_file import pack_domain, unpack_domain
from constellation.domains.soft_counts import TRUST_EXPONENT, trust_of
from constellation.errors import ArtifactError
from tests.domains.material import (
    NAMES,
    coordizer,
    domain,
    fitted_bits,
    texts,
    wide_coordizer,
)

LEARNED, JOINED = NAMES[:3], NAMES[3:]


def wide(name: str) -> Domain:
    """Return the record that a domain would have had its text chosen tokens too."""
    return make_domain(name, texts(name, 12), texts(name, 4, seed=1), wide_coordizer())


def test_only_domains_that_tokens_were_not_learned_from_have_pieces() -> None:
    assert coordizer().provenance.token_domains == tuple(sorted(LEARNED))
    assert [domain(name).pieces is None for name in NAMES] == [True] * 3 + [False] * 2
    unknown = replace(coordizer().provenance, token_domains=())
    tokens = coordizer().with_provenance(unknown)
    assert make_domain("walk", texts("walk", 3), texts("walk", 1), tokens).pieces is None


def test_where_nothing_joined_every_bit_is_as_before() -> None:
    assert all(pack_domain(domain(name)) == pack_domain(wide(name)) for name in LEARNED)
    assert fitted_bits([domain(name) for name in LEARNED]) == fitted_bits(
        [wide(name) for name in LEARNED]
    )
    counts = [record.counts for record in map(domain, LEARNED)]
    assert trust_of([each for each in counts if each], vocab_size=400) is None


@pytest.mark.slow
def test_a_domain_that_joins_changes_coordinates_and_leaves_no_bit_behind() -> None:
    before = tuple(domain(name) for name in LEARNED)
    joined = add(before, domain("sing"))
    assert fitted_bits(joined) != fitted_bits([*before, wide("sing")])
    assert fitted_bits(retire(joined, "sing")) == fitted_bits(before)


def test_a_token_is_trusted_by_what_is_left_of_its_frequency() -> None:
    records = [domain("bake"), domain("sing")]
    counts = [record.counts for record in records if record.counts is not None]
    trust_V = trust_of(counts, vocab_size=coordizer().vocab_size)
    assert trust_V is not None
    for token in range(coordizer().vocab_size):
        left = whole = 0.0
        for each in counts:
            total = each.total_U if each.whole_U is None else each.whole_U
            (place,) = np.nonzero(each.ids_U == token)
            if place.size:
                left += each.total_U[place[0]] / total.sum()
                whole += total[place[0]] / total.sum()
        expected = (left / whole) ** TRUST_EXPONENT if whole else 1
        assert trust_V[token] == pytest.approx(expected, rel=1e-12)
    assert 0 < trust_V.min() < 0.9
    assert trust_V.max() == 1


def test_pieces_of_words_count_less_for_the_domain_they_fall_in() -> None:
    plain, weighed = wide("walk").counts, domain("walk").counts
    assert plain is not None
    assert weighed is not None
    assert weighed.whole_U is not None
    assert weighed.whole_U.tobytes() == plain.total_U.tobytes()
    assert (weighed.total_U <= weighed.whole_U * (1 + 1e-6)).all()
    assert weighed.total_U.sum() < 0.95 * weighed.whole_U.sum()


def test_what_a_domain_that_joined_unlearned_is_as_if_never_read() -> None:
    pairs, dev = texts("walk", 12), texts("walk", 4, seed=1)
    kept = [(source, text) for source, text in pairs if source != "0-3.txt"]
    never = make_domain("walk", kept, dev, coordizer())
    forgot = unlearn(domain("walk"), "0-3.txt")
    assert pack_domain(replace(forgot, unlearned=())) == pack_domain(never)


@pytest.mark.slow
def test_a_record_with_pieces_comes_back_to_the_bit() -> None:
    data = pack_domain(domain("sing"))
    after = unpack_domain(data)
    assert pack_domain(after) == data
    assert fitted_bits([after, domain("bake")]) == fitted_bits([domain("sing"), domain("bake")])
    content = pack_domain(replace(domain("sing"), pieces=None))
    assert len(content) < len(data)
    with pytest.raises(ArtifactError):
        unpack_domain(data[:-1])


def test_counts_of_another_seed_have_pieces_too() -> None:
    options = FitOptions(seed=5)
    own = make_domain("sing", texts("sing", 12), texts("sing", 4, seed=1), coordizer(), seed=5)
    others = [domain("bake"), domain("mend")]
    found = fit_coordizer([*others, domain("sing")], coordizer(), options)
    assert found.hash == fit_coordizer([*others, own], coordizer(), options).hash


@pytest.mark.slow
def test_a_release_says_still_what_its_tokens_were_learned_from() -> None:
    fitted = fit([domain("bake"), domain("sing")], coordizer())
    assert fitted.coordizer.provenance.token_domains == tuple(sorted(LEARNED))
