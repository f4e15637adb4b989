"""Which texts thresholds are made from, and that the promise holds on fresh documents."""

import random
from dataclasses import replace

import numpy as np
import pytest

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.curricula.corpus import Document
from constellation.domains.passages import draw_passages
from constellation.records import Rule
from constellation.routing.calibration import calibrate, make_table
from constellation.routing.policy import RoutingPolicy
from constellation.routing.refusal import LENGTHS
from constellation.routing.sites import fit_sites
from training.domain_records import encoded
from training.refusal import kernel_refusal, table_refusal
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
    fresh = draw_passages([encoded(test, name, coordizer).evidence() for name in WORDS])
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


def test_a_kernel_that_joins_is_measured_alone_under_coordinates_that_do_not_know_it(
    coordizer: Coordizer,
) -> None:
    """All its documents count, each before a basin that was made without it."""
    own = [replace(each, domain="new") for each in documents(7, 20, 60) if each.domain == "bake"]
    train, dev = own[:16], own[16:]
    made = kernel_refusal(train, dev, kernel_texts(train, "new", coordizer), coordizer)
    assert made.num_documents[LENGTHS.index(16)] == len(own)
    assert all(row.caught is None for row in made.at_share(Rule.BEARING))
