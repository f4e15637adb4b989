"""Make the prepared corpus, the coordizer and the token files that a recipe asks for."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.curricula.corpus import Document, read_corpus
from constellation.curricula.corpus_store import save_prepared
from constellation.curricula.domain_discovery import discover_domains
from constellation.curricula.file_search import find_files, readable
from constellation.curricula.prepare import PrepareConfig, PreparedCorpus, prepare
from constellation.curricula.split import SPLITS, SplitConfig
from constellation.curricula.starter import starter_corpus
from constellation.errors import CorpusError
from constellation.records import TokenArray
from training.batches import join_documents
from training.recipe import CoordizerSection
from training.recipe_corpus import CorpusSection
from training.runs.training_plan import SEED
from training.text_replay import sample_replay


def corpus_inputs(section: CorpusSection, *, seed: int) -> dict[str, object]:
    """Return the values that decide the corpus: the settings, and the state of its files."""
    files = [
        [readable(str(file.path)), file.size_bytes, file.changed_ns]
        for file in find_files(section.paths).files
    ]
    decides = {"seed": seed} if section.discover_domains else {}
    # The starter corpus is this Python's own text.
    return {
        "settings": section.model_dump(mode="json"),
        "files": files,
        "python": sys.version,
        **decides,
    }


def make_corpus(
    section: CorpusSection,
    folder: Path,
    *,
    seed: int,
    domains_min: int = 2,
    check: Callable[[PreparedCorpus], None] | None = None,
) -> PreparedCorpus:
    """Read and prepare the corpus, and store it in `folder`.

    `check` is called with the corpus before it is written, and raises when it cannot be used.

    Raises:
        CorpusError: The text is missing, empty, too damaged, or has too few domains.
    """
    corpus = read_corpus(section.paths, section.limits) if section.paths else starter_corpus()
    if section.merge:
        corpus = corpus.merged(section.merge)
    config = PrepareConfig(
        domain_bytes_max=section.domain_bytes_max,
        split=SplitConfig(dev_share=section.dev_share, test_share=section.test_share),
    )
    prepared = prepare(corpus, config)
    if section.discover_domains is not None:
        prepared = discover_domains(prepared, num_domains=section.discover_domains, seed=seed)
    if len(prepared.domains) < domains_min:
        raise CorpusError(
            ", ".join(map(str, section.paths)) or "starter corpus",
            f"a constellation needs two domains or more, found {list(prepared.domains)}; "
            "put each domain's text in a sub-folder of its own",
        )
    if check is not None:
        check(prepared)
    save_prepared(folder, prepared)
    return prepared


def as_one_domain(corpus: PreparedCorpus, name: str) -> PreparedCorpus:
    """Return the corpus with all its text in one domain, from which a single kernel learns."""
    splits = {
        part: tuple(replace(document, domain=name) for document in corpus.of_split(part))
        for part in SPLITS
    }
    return PreparedCorpus(**splits, manifest=corpus.manifest)


def make_coordizer(
    section: CoordizerSection, corpus: PreparedCorpus, folder: Path, *, seed: int
) -> Coordizer:
    """Train the coordizer on the training text, anchored to the domains, and store it."""
    coordizer = train_coordizer(
        [document.text for document in corpus.train],
        [document.domain for document in corpus.train],
        vocab_size=section.vocab_size,
        criterion=section.criterion,
        anchored=True,
        seed=seed,
    )
    coordizer.save(folder)
    return coordizer


def make_tokens(corpus: PreparedCorpus, coordizer: Coordizer, folder: Path) -> list[Path]:
    """Write one token stream per domain, and one of all domains for the seed, for train and dev.

    Returns:
        The files, named `DOMAIN.SPLIT.npy`, int32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for split in ("train", "dev"):
        documents = corpus.of_split(split)
        tokens = coordizer.encode_batch([document.text for document in documents])
        for name in (SEED, *corpus.domains):
            chosen = (
                ids
                for ids, document in zip(tokens, documents, strict=True)
                if name in (SEED, document.domain)
            )
            written.append(write_stream(folder / f"{name}.{split}.npy", chosen, coordizer))
    return written


def make_replay(
    corpus: PreparedCorpus, coordizer: Coordizer, folder: Path, share: float
) -> list[Path]:
    """Write a token stream of other domains' training text for every domain.

    Args:
        corpus: Text with its domains.
        coordizer: Encodes it.
        folder: For the files.
        share: Share of a branch's tokens that come from other domains, in (0, 1).

    Returns:
        The files, named `DOMAIN.replay.npy`, int32.
    """
    documents = corpus.train
    tokens = coordizer.encode_batch([document.text for document in documents])
    written = []
    for name in corpus.domains:
        parts: tuple[list[TokenArray], list[TokenArray]] = ([], [])
        for ids, document in zip(tokens, documents, strict=True):
            parts[document.domain != name].append(ids)
        own, others = parts
        replay = sample_replay(others, own_tokens=sum(map(len, own)), share=share, name=name)
        written.append(write_stream(folder / f"{name}.replay.npy", replay, coordizer))
    return written


def write_stream(path: Path, tokens: Iterable[TokenArray], coordizer: Coordizer) -> Path:
    """Write documents as one stream of tokens, int32; return the file."""
    np.save(path, join_documents(tokens, coordizer.end_id))
    return path


def bytes_per_token(documents: Iterable[Document], num_tokens: int) -> float:
    """Return the mean bytes of a token over these documents."""
    return sum(len(document.text.encode()) for document in documents) / max(1, num_tokens)
