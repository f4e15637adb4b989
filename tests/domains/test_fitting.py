"""What is fitted to a set of records is, to the bit, what training gives for the same text."""

from dataclasses import replace

import numpy as np
import pytest

from constellation.coordizer.blocks import allocate_blocks, is_shared, outcomes_for
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import refit, train_coordizer
from constellation.domains.encoded_documents import Documents
from constellation.domains.fit import FitOptions, fit, fit_coordizer, fit_table
from constellation.domains.record import Domain, make_domain
from constellation.errors import ConfigError, CorpusError, IncompatibleKernels
from constellation.wire.table_file import pack_table
from tests.domains.material import NAMES, bits, coordizer, domain, fitted_bits, texts
from tests.domains.reference import Text, reference_table
from tests.support.artifacts import MODULES, documents_of

pytestmark = pytest.mark.slow


def labelled(names: tuple[str, ...], count: int, seed: int) -> list[Text]:
    return [
        Text(name, source, text) for name in names for source, text in texts(name, count, seed=seed)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("num_domains", [2, 3, 5])
def test_coordizer_and_table_are_to_the_bit_those_of_a_training(num_domains: int) -> None:
    names = NAMES[:num_domains]
    train, dev = labelled(names, 12, 0), labelled(names, 4, 1)
    trained = refit(coordizer(), [each.text for each in train], [each.domain for each in train])
    fitted = fit([domain(name) for name in names], coordizer())
    assert fitted.coordizer.hash == trained.hash
    assert np.array_equal(fitted.coordizer.parts.counts_VK, trained.parts.counts_VK)
    assert pack_table(fitted.table) == pack_table(reference_table(train, dev, trained))


@pytest.mark.slow
def test_modules_of_the_standard_library_get_what_training_gives_them() -> None:
    """Documents of a few hundred tokens, another seed, and more sources than documents of one."""
    parts = {name: documents_of(modules) for name, modules in MODULES.items()}
    train = [
        Text(name, f"{number % 7}.py", text)
        for name, own in parts.items()
        for number, text in enumerate(own)
        if number % 5
    ]
    dev = [Text(name, "dev.py", text) for name, own in parts.items() for text in own[::5]]
    trained = train_coordizer(
        [each.text for each in train], [each.domain for each in train], vocab_size=1024, seed=3
    )
    records = [
        make_domain(
            name,
            [(each.source, each.text) for each in train if each.domain == name],
            [(each.source, each.text) for each in dev if each.domain == name],
            trained,
            seed=3,
        )
        for name in reversed(MODULES)
    ]
    fitted = fit(records, trained, FitOptions(seed=3))
    assert fitted.coordizer.hash == trained.hash
    assert pack_table(fitted.table) == pack_table(reference_table(train, dev, trained))


def test_counts_of_another_seed_are_made_anew() -> None:
    names = NAMES[:3]
    train = labelled(names, 12, 0)
    documents, labels = [each.text for each in train], [each.domain for each in train]
    trained = refit(coordizer(), documents, labels, seed=5)
    found = fit_coordizer([domain(name) for name in names], coordizer(), FitOptions(seed=5))
    assert found.hash == trained.hash


def test_coordinates_without_labels_are_kept() -> None:
    free = refit(coordizer(), [text for _, text in texts("bake", 12)])
    fitted = fit([domain("bake"), domain("sail")], free)
    assert fitted.coordizer is free
    assert fitted.table.coordizer_hash == free.hash


def test_coordinates_are_kept_on_request() -> None:
    fitted = fit([domain("walk")], coordizer(), FitOptions(keep_coordinates=True))
    assert fitted.coordizer is coordizer()


@pytest.mark.parametrize(
    ("num_domains", "wanted", "expected"),
    [
        (3, 64, 64),
        (48, 64, 64),
        (49, 64, 128),
        (112, 64, 128),
        (113, 64, 192),
        (240, 64, 256),
        (17, 20, 64),
        (1, 8, 64),
    ],
)
def test_more_domains_get_more_outcomes(num_domains: int, wanted: int, expected: int) -> None:
    assert outcomes_for(num_domains, wanted) == expected
    blocks = allocate_blocks([str(number) for number in range(num_domains)], num_outcomes=expected)
    assert len({outcome for block in blocks.values() for outcome in block}) >= num_domains
    assert not any(is_shared(blocks, name) for name in blocks)


def test_domains_that_do_not_fit_the_outcomes_are_fitted_with_more() -> None:
    fitted = fit([domain(name) for name in NAMES], coordizer(), FitOptions(num_outcomes=19))
    assert fitted.coordizer.background_K.size == 64
    assert fitted.table.sites[0].basin_K.shape == (64,)


def test_kernels_keep_their_integration_and_have_seats_of_their_own() -> None:
    domains = [replace(domain("bake"), phi_gauge=0.25), domain("sail")]
    sites = fit(domains, coordizer()).table.sites
    assert [site.phi_gauge for site in sites] == [0.25, None]
    assert len({site.seat for site in sites}) == 2


def test_what_cannot_be_fitted_is_refused() -> None:
    bake = domain("bake")
    with pytest.raises(ConfigError, match="at least one"):
        fit([], coordizer())
    with pytest.raises(ConfigError, match="different names"):
        fit([bake, bake], coordizer())
    with pytest.raises(IncompatibleKernels):
        fit([replace(bake, tokenizer_hash="other")], coordizer())
    with pytest.raises(CorpusError, match="calibrate"):
        fit([bake, without_dev(domain("sail"))], coordizer())


def without_dev(of: Domain) -> Domain:
    return replace(of, dev=of.dev.select([]))


@pytest.mark.slow
def test_the_table_alone_can_be_fitted_at_the_coordinates_that_there_are() -> None:
    domains = [domain(name) for name in NAMES[:3]]
    whole = fit(domains, coordizer())
    assert bits(fit_table(domains, whole.coordizer)) == bits(whole)


def test_a_fit_is_the_same_each_time() -> None:
    domains = [domain(name) for name in NAMES[:2]]
    assert fitted_bits(domains) == fitted_bits(domains)


def test_documents_come_back_from_a_record_exactly() -> None:
    pairs = texts("sing", 12)
    record: Documents = domain("sing").train
    tokens: Coordizer = coordizer()
    for (source, text), ids, counted, number in zip(
        pairs, record.tokens(), record.evidence(), record.source_N, strict=True
    ):
        assert tokens.decode(ids.astype(np.int64)) == text.encode()
        assert ids.tolist() == tokens.encode(text).tolist()
        assert counted.tolist() == tokens.encode(text.strip()).tolist()
        assert record.sources[number] == source
