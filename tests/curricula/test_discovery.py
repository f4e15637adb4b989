"""Domains are found where topics were planted, from training text alone."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from constellation.curricula.corpus import Corpus, Document
from constellation.curricula.domain_discovery import discover_domains
from constellation.curricula.prepare import PreparedCorpus, prepare
from constellation.errors import CorpusError

TOPICS = ("river", "engine", "choir")


def topical(topic: str, number: int) -> Document:
    """Return a text in words of one topic and words that all topics share."""
    draw = random.Random(f"{topic} {number}")
    own = [f"{topic}{ending}" for ending in ("s", "ing", "ed", "less", "ful", "like")]
    words = [draw.choice(own if draw.random() < 0.4 else ["the", "of", "and", "was", "in"])
             for _ in range(150)]  # fmt: skip
    return Document(text=" ".join(words) + "\n", domain="all", source=f"{topic}/{number}")


@pytest.fixture(scope="module")
def mixed() -> PreparedCorpus:
    documents = [topical(topic, number) for topic in TOPICS for number in range(40)]
    return prepare(Corpus(documents=tuple(documents)))


def topic_of(document: Document) -> str:
    return document.source.split("/")[0]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_topics_are_found_in_every_split(mixed: PreparedCorpus, seed: int) -> None:
    found = discover_domains(mixed, num_domains=3, seed=seed, vocab_size=300)
    assert found.domains == ("domain-1", "domain-2", "domain-3")
    for name in ("train", "dev", "test"):
        assert len({(topic_of(d), d.domain) for d in found.of_split(name)}) == 3
        before = [(d.text, d.source) for d in mixed.of_split(name)]
        assert [(d.text, d.source) for d in found.of_split(name)] == before


def test_the_largest_comes_first_and_the_manifest_counts_the_new_domains(
    mixed: PreparedCorpus,
) -> None:
    found = discover_domains(mixed, num_domains=2, vocab_size=300)
    sizes = Counter(document.domain for document in found.train)
    assert sizes["domain-1"] >= sizes["domain-2"] > 0
    splits = found.manifest["splits"]
    assert isinstance(splits, dict)
    assert set(splits["train"]["domains"]) == {"domain-1", "domain-2"}
    assert found.manifest["discovery"]["spread"] > 0  # type: ignore[index]


def test_held_out_text_shapes_nothing(mixed: PreparedCorpus) -> None:
    whole = discover_domains(mixed, num_domains=3, vocab_size=300)
    without = discover_domains(replace(mixed, dev=(), test=()), num_domains=3, vocab_size=300)
    assert whole.train == without.train


@pytest.mark.parametrize("num_domains", [1, 0, 10_000])
def test_too_few_or_too_many_domains_are_refused(mixed: PreparedCorpus, num_domains: int) -> None:
    with pytest.raises(CorpusError, match="cannot be found"):
        discover_domains(mixed, num_domains=num_domains)
