"""How the text is divided among experts, and what their streams hold."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.claim.groups import discovered_groups, random_groups
from benchmarks.claim.material import ALL, make_material
from constellation.curricula.corpus import Document
from constellation.curricula.prepare import PreparedCorpus
from constellation.errors import ConfigError

WORDS = {
    "metals": ("iron", "zinc", "copper", "cobalt", "nickel", "silver"),
    "birds": ("heron", "wren", "plover", "curlew", "swift", "siskin"),
    "rivers": ("seine", "rhine", "danube", "volga", "tagus", "loire"),
}


def _documents(split: str, count: int) -> tuple[Document, ...]:
    rng = np.random.default_rng([len(split), count])
    return tuple(
        Document(
            text=" ".join(rng.choice(words, 150 + 10 * number)),
            domain=name,
            source=f"{name}/{split}/{number}",
            part=part,
        )
        for name, words in WORDS.items()
        for number in range(count)
        for part in range(2)
    )


@pytest.fixture(scope="module")
def corpus() -> PreparedCorpus:
    return PreparedCorpus(
        train=_documents("train", 8), dev=_documents("dev", 4), test=_documents("t", 3), manifest={}
    )


def test_random_groups_keep_sources_whole_and_sizes_alike(corpus: PreparedCorpus) -> None:
    dealt = random_groups(corpus, 3, seed=1)
    assert [d.text for d in dealt.train] == [d.text for d in corpus.train]
    assert len({(d.source, d.domain) for d in dealt.train}) == 3 * 8
    sizes = [sum(len(d.text) for d in dealt.train if d.domain == name) for name in dealt.domains]
    assert len(sizes) == 3
    assert max(sizes) < 1.1 * min(sizes)


def test_random_groups_mix_the_domains_and_follow_the_seed(corpus: PreparedCorpus) -> None:
    dealt = random_groups(corpus, 3, seed=1)
    mixed = {(d.domain, d.source.split("/")[0]) for d in dealt.train}
    assert len(mixed) > 5
    assert dealt.train != random_groups(corpus, 3, seed=2).train
    assert dealt.train == random_groups(corpus, 3, seed=1).train


def test_groups_found_without_labels_are_the_domains(
    corpus: PreparedCorpus, tmp_path: Path
) -> None:
    material = make_material(corpus, tmp_path, vocab_size=400, replay_share=0.0)
    found = discovered_groups(corpus, material.coordizer, 3, seed=0)
    for split in ("train", "dev"):
        both = zip(found.of_split(split), corpus.of_split(split), strict=True)
        assert len({(one.domain, other.domain) for one, other in both}) == 3


def test_every_group_found_has_text_to_calibrate_on(corpus: PreparedCorpus, tmp_path: Path) -> None:
    material = make_material(corpus, tmp_path, vocab_size=400, replay_share=0.0)
    found = discovered_groups(corpus, material.coordizer, 12, seed=0)
    assert {d.domain for d in found.dev} == set(found.domains)
    with pytest.raises(ConfigError, match="development documents"):
        discovered_groups(corpus, material.coordizer, 1000, seed=0)


def test_a_branch_replays_the_asked_share_of_other_domains(
    corpus: PreparedCorpus, tmp_path: Path
) -> None:
    material = make_material(corpus, tmp_path, vocab_size=400, replay_share=0.25)
    own = {name: Counter[int]() for name in material.domains}
    for document, ids in zip(corpus.train, material.train_tokens, strict=True):
        own[document.domain].update(ids.tolist())
    for name in material.domains:
        stream = np.load(material.stream(name, "train"))
        num_own = own[name].total()
        num_other = int((stream != material.coordizer.end_id).sum()) - num_own
        assert num_other / (num_own + num_other) == pytest.approx(0.25, abs=0.06)
        assert not own[name] - Counter(stream.tolist())  # all of its own text is there
        dev = np.load(material.stream(name, "dev"))
        held_out = [
            ids
            for document, ids in zip(corpus.dev, material.dev_tokens, strict=True)
            if document.domain == name
        ]
        assert (dev != material.coordizer.end_id).sum() == sum(map(len, held_out))
    everything = np.load(material.stream(ALL, "train"))
    assert (everything != material.coordizer.end_id).sum() == sum(map(len, material.train_tokens))
