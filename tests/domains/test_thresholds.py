"""Which texts thresholds are made from, and that the promise holds on fresh documents."""

import random
from collections.abc import Iterable

import numpy as np
import pytest

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.curricula.corpus import Document
from constellation.domains.calibration_passages import draw_passages
from constellation.domains.fit import fit, fit_table
from constellation.domains.membership import add
from constellation.domains.record import Domain, encode_documents, make_domain
from constellation.records import Rule
from constellation.routing.policy import RoutingPolicy
from constellation.routing.refusal_rule import LENGTHS

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


def pairs(documents: Iterable[Document], name: str) -> list[tuple[str, str]]:
    """Return source and text of the documents of a domain."""
    return [(each.source, each.text) for each in documents if each.domain == name]


def domains(train: list[Document], dev: list[Document], coordizer: Coordizer) -> tuple[Domain, ...]:
    return tuple(
        make_domain(name, pairs(train, name), pairs(dev, name), coordizer) for name in WORDS
    )


@pytest.mark.slow
def test_of_fresh_documents_about_the_share_asked_for_is_refused(coordizer: Coordizer) -> None:
    """Few development documents: the thresholds need the training documents, fitted anew."""
    train, dev, test = documents(0, 40, 60), documents(3, 6, 60), documents(4, 150, 60)
    table = fit_table(domains(train, dev, coordizer), coordizer).table
    assert table.refusal is not None
    assert table.refusal.num_documents[LENGTHS.index(16)] == 3 * (40 + 6)
    fresh = draw_passages(
        [encode_documents(pairs(test, name), coordizer).evidence() for name in WORDS]
    )
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


@pytest.mark.slow
def test_the_documents_of_a_kernel_that_joins_count_for_the_thresholds_of_all(
    coordizer: Coordizer,
) -> None:
    """Each before a basin, and under coordinates, that were made without it."""
    before = domains(documents(0, 12, 60), documents(3, 4, 60), coordizer)
    words = "orbit comet lens dust nebula pulsar light drift mass ring"
    rng = random.Random(5)
    own = [(f"{n}.txt", " ".join(rng.choices(words.split(), k=60))) for n in range(20)]
    joined = add(before, make_domain("stars", own[:16], own[16:], coordizer))
    old, new = (fit(each, coordizer).table.refusal for each in (before, joined))
    assert old is not None
    assert new is not None
    at = LENGTHS.index(16)
    assert new.num_documents[at] == old.num_documents[at] + len(own)
    assert all(row.caught is not None for row in new.at_share(Rule.BEARING))
