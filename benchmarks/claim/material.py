"""From a folder of domains to what training and scoring read: text, tokens, streams, documents.

Read by the reader of the other benchmarks, which takes any text file; cleaned, de-duplicated, split
and cut by the project's own `prepare`, so that no source is in two splits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.domain_corpus import read_domains
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import refit, train_coordizer
from constellation.curricula.corpus import Corpus, Document
from constellation.curricula.prepare import PrepareConfig, PreparedCorpus, prepare
from constellation.curricula.split import SplitConfig
from constellation.records import TokenArray
from training.batches import join_documents
from training.text_replay import sample_replay

PREFIX_TOKENS = 32
"""Tokens that a document is routed by; what follows is scored."""

TOKENS_MAX = 1024
"""Tokens of a document that are read; the rest is cut off."""

DOCUMENTS_PER_DOMAIN = (6, 24)
"""Fewest and most test documents of a domain, where there are so many."""

DOCUMENTS_MAX = 240
"""Test documents of all domains together, so that many domains do not mean hours of scoring."""

ALL = "all domains together"
"""Name of the stream of every domain."""

_SPLIT = SplitConfig(dev_share=0.1, test_share=0.15)


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """One held-out document."""

    domain: str
    source: str
    """Documents of one source stand or fall together in the bootstrap."""
    ids: TokenArray
    """At least twice the prefix."""
    num_bytes: int
    """Of the tokens after the prefix."""


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """All that a table is made from."""

    corpus: PreparedCorpus
    coordizer: Coordizer
    train_tokens: Sequence[TokenArray]
    """Of `corpus.train`, in order."""
    dev_tokens: Sequence[TokenArray]
    """Of `corpus.dev`, in order."""
    test: Sequence[HeldOut]
    folder: Path
    """Holds the streams, `GROUP.SPLIT.npy`."""
    replay_share: float
    """Share of an expert's training stream that comes from other domains, [0, 1)."""

    @property
    def domains(self) -> tuple[str, ...]:
        """Names, sorted."""
        return self.corpus.domains

    def stream(self, group: str, split: str) -> Path:
        """Return the file of a group's tokens."""
        return self.folder / f"{group}.{split}.npy"


def read_corpus(folder: Path) -> PreparedCorpus:
    """Return the corpus of a folder, one domain for each sub-folder or file."""
    documents = [
        Document(text=text, domain=name, source=f"{name}/{number}")
        for name, texts in read_domains(folder).items()
        for number, text in enumerate(texts)
    ]
    return prepare(Corpus(documents=tuple(documents)), PrepareConfig(split=_SPLIT))


def make_material(
    corpus: PreparedCorpus,
    folder: Path,
    *,
    vocab_size: int,
    replay_share: float,
    seed: int = 0,
    coordizer: Coordizer | None = None,
) -> Material:
    """Train the coordizer, unless one is given, encode, and write the streams of the domains.

    Args:
        corpus: Text with its domains.
        folder: For the streams.
        vocab_size: Most tokens of a new coordizer.
        replay_share: Share of an expert's training stream that comes from other domains, [0, 1).
        seed: Of a new coordizer.
        coordizer: Already trained.
    """
    texts = [document.text for document in corpus.train]
    labels = [document.domain for document in corpus.train]
    coordizer = coordizer or train_coordizer(texts, labels, vocab_size=vocab_size, seed=seed)
    material = Material(
        corpus=corpus,
        coordizer=coordizer,
        train_tokens=coordizer.encode_batch(texts),
        dev_tokens=coordizer.encode_batch([document.text for document in corpus.dev]),
        test=held_out(corpus.test, coordizer),
        folder=folder,
        replay_share=replay_share,
    )
    _write_streams(material)
    return material


def regrouped(material: Material, groups: PreparedCorpus, name: str, *, seed: int) -> Material:
    """Return the same tokens in other groups, with coordinates anchored to those.

    Args:
        material: Whose tokens they are.
        groups: The same documents, a group in the place of each domain.
        name: Of the folder for the streams, beside the material's.
        seed: Of the coordinates.
    """
    coordizer = refit(
        material.coordizer,
        [document.text for document in groups.train],
        [document.domain for document in groups.train],
        seed=seed,
    )
    return make_material(
        groups,
        material.folder.parent / name,
        vocab_size=coordizer.vocab_size,
        replay_share=material.replay_share,
        coordizer=coordizer,
    )


def _write_streams(material: Material) -> None:
    """Write a stream of each domain, and one of all, for training and for development."""
    material.folder.mkdir(parents=True, exist_ok=True)
    corpus = material.corpus
    for name in (ALL, *corpus.domains):
        own, others = _parted(corpus.train, material.train_tokens, name)
        own_tokens = sum(map(len, own))
        replay = sample_replay(
            others, own_tokens=own_tokens, share=material.replay_share, name=name
        )
        _write(material, name, "train", [*own, *replay])
        _write(material, name, "dev", _parted(corpus.dev, material.dev_tokens, name)[0])


def _parted(
    documents: Sequence[Document], tokens: Sequence[TokenArray], name: str
) -> tuple[list[TokenArray], list[TokenArray]]:
    """Return the tokens of a domain's documents, and of all others."""
    parts: tuple[list[TokenArray], list[TokenArray]] = ([], [])
    for document, ids in zip(documents, tokens, strict=True):
        parts[name not in (ALL, document.domain)].append(ids)
    return parts


def _write(material: Material, group: str, split: str, tokens: Sequence[TokenArray]) -> None:
    stream = join_documents(tokens, material.coordizer.end_id)
    np.save(material.stream(group, split), stream)


def held_out(documents: Sequence[Document], coordizer: Coordizer) -> list[HeldOut]:
    """Return the test documents: long enough to be routed and scored, and not too many."""
    found: dict[str, list[HeldOut]] = {}
    for document, ids in zip(
        documents, coordizer.encode_batch([document.text for document in documents]), strict=True
    ):
        if len(ids) >= 2 * PREFIX_TOKENS:
            cut = ids[:TOKENS_MAX]
            num_bytes = len(coordizer.decode(cut[PREFIX_TOKENS:]))
            found.setdefault(document.domain, []).append(
                HeldOut(document.domain, document.source, cut, num_bytes)
            )
    fewest, most = DOCUMENTS_PER_DOMAIN
    limit = max(fewest, min(most, DOCUMENTS_MAX // max(1, len(found))))
    return [one for name in sorted(found) for one in _thinned(found[name], limit)]


def _thinned(documents: list[HeldOut], limit: int) -> list[HeldOut]:
    """Keep at most so many documents, spread evenly over the sources."""
    count = min(limit, len(documents))
    places = np.unique(np.linspace(0, len(documents) - 1, count).astype(np.intp))
    return [documents[place] for place in places]
