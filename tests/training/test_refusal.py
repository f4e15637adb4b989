"""Which texts thresholds are made from, and that the promise holds on fresh documents."""

import random
from dataclasses import replace

import numpy as np
import pytest

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.curricula.corpus import Document
from constellation.records import Rule
from constellation.routing.calibration import calibrate, make_table
from constellation.routing.policy import RoutingPolicy
from constellation.routing.refusal import LENGTHS
from constellation.routing.sites import fit_sites
from training import refusal
from training.refusal import SHORT_TOKENS, draw_passages, kernel_refusal, table_refusal
from training.table import kernel_texts, passage_basins

WORDS = {
    "bake": "knead dough let rise near warm oven flour yeast crumb crust salt sugar butter loaf",
    "sail": "trim jib hold tiller westerly wind sea reef mast keel anchor harbour tide rope deck",
    "mend": "cut board plane joint glue clamp chisel saw sand varnish nail hinge drill level bench",
}
COMMON = "the and with for then when it is on at of to a by from"


def documents(seed: int, count: int, num_words: int) -> list[Document]:
    """Return documents of each domain: half of their words are its own, a few are another's."""
    rng = random.Random(seed)
    made = []
    for domain, own in WORDS.items():
        strange = [word for other in WORDS.values() if other is not own for word in other.split()]
        for number in range(count):
            picked = [
                rng.choice(rng.choices([own.split(), COMMON.split(), strange], [6, 6, 1])[0])
                for _ in range(num_words)
            ]
            text = " ".join(picked) + "\n"
            made.append(Document(text=text, domain=domain, source=f"{seed}-{number}.txt"))
    return made


@pytest.fixture(scope="module")
def coordizer() -> Coordizer:
    train = documents(0, 40, 60)
    labels = [each.domain for each in train]
    return train_coordizer([each.text for each in train], labels, vocab_size=400)


def test_short_documents_count_whole_and_long_ones_in_passages(coordizer: Coordizer) -> None:
    short, long = documents(1, 4, 6), documents(2, 4, 120)
    found = draw_passages([*short, *long], list(WORDS), coordizer)
    lengths = np.array([len(ids) for ids in found.tokens])
    assert len(found.tokens) == len(found.kernel_N) == len(found.document_N)
    is_short = found.document_N < len(short)
    assert (np.unique(found.document_N[is_short], return_counts=True)[1] == 1).all()
    assert (lengths[is_short] < SHORT_TOKENS).all()
    assert set(lengths[~is_short].tolist()) <= set(LENGTHS)
    assert {8, 16, 32, 64, 128} <= set(lengths[~is_short].tolist())
    whole = coordizer.encode(short[0].text.strip())
    assert found.tokens[0].tolist() == whole.tolist()


def test_the_number_of_passages_has_a_limit_for_each_domain(
    coordizer: Coordizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusal, "PASSAGES_OF_DOMAIN", 10)
    monkeypatch.setattr(refusal, "_DOMAIN_MIN", 1)
    found = draw_passages(documents(2, 5, 200), list(WORDS), coordizer)
    lengths = np.array([len(ids) for ids in found.tokens])
    for kernel in range(3):
        counts = np.unique(lengths[found.kernel_N == kernel], return_counts=True)[1]
        assert counts.max() <= 10


def test_of_fresh_documents_about_the_share_asked_for_is_refused(coordizer: Coordizer) -> None:
    """Few development documents: the thresholds need the training documents, fitted anew."""
    train, dev, test = documents(0, 40, 60), documents(3, 6, 60), documents(4, 150, 60)
    kernels = [kernel_texts(train, name, coordizer) for name in WORDS]
    sites = fit_sites(kernels, background_K=coordizer.background_K, seats=False).sites
    passages_NK, labels = passage_basins(dev, coordizer)
    calibration = calibrate(sites, passages_NK, labels, background_K=coordizer.background_K)
    made = table_refusal(train, dev, sites, coordizer)
    assert made.num_documents[LENGTHS.index(16)] == 3 * (40 + 6)
    table = make_table(
        sites,
        calibration,
        background_K=coordizer.background_K,
        coordizer_hash=coordizer.hash,
        refusal=made,
    )
    fresh = draw_passages(test, list(WORDS), coordizer)
    for rule in Rule:
        policy = RoutingPolicy(table, rule=rule)
        refused = np.array(
            [
                policy.decide(coordizer.basin(ids), num_tokens=len(ids), refuse=0.05).out_of_domain
                for ids in fresh.tokens
            ]
        )
        lengths = np.array([len(ids) for ids in fresh.tokens])
        for length in (8, 16, 32):
            assert refused[lengths == length].mean() == pytest.approx(0.05, abs=0.03)


def test_enough_development_documents_are_used_alone(
    coordizer: Coordizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, dev = documents(0, 40, 60), documents(3, 6, 60)
    kernels = [kernel_texts(train, name, coordizer) for name in WORDS]
    sites = fit_sites(kernels, background_K=coordizer.background_K, seats=False).sites
    for name, value in (("DOCUMENTS_WANTED", len(dev)), ("CROSS_BYTES_MAX", 100)):
        with monkeypatch.context() as patch:
            patch.setattr(refusal, name, value)
            made = table_refusal(train, dev, sites, coordizer)
        assert made.num_documents[LENGTHS.index(16)] == len(dev)


def test_a_kernel_that_joins_is_measured_alone_under_coordinates_that_do_not_know_it(
    coordizer: Coordizer,
) -> None:
    """All its documents count, each before a basin that was made without it."""
    own = [replace(each, domain="new") for each in documents(7, 20, 60) if each.domain == "bake"]
    train, dev = own[:16], own[16:]
    made = kernel_refusal(train, dev, kernel_texts(train, "new", coordizer), coordizer)
    assert made.num_documents[LENGTHS.index(16)] == len(own)
    assert all(row.caught is None for row in made.at_share(Rule.BEARING))
