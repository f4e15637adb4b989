"""Find the split text of a kernel that a run stores: added text, or its part of the corpus.

Such text is split into train, dev and test already, and is never split again.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from constellation.curricula.corpus import Document
from constellation.curricula.corpus_store import MANIFEST, load_prepared
from constellation.curricula.prepare import PreparedCorpus, describe
from constellation.curricula.split import SPLITS

ADDED: Final = "added"
"""Name of the folder with the text of added kernels, one subfolder each."""
CORPUS: Final = "corpus"
"""Name of the folder with the text that the run itself was trained on."""

Change = Callable[[Iterable[Document]], Iterable[Document]]
"""Function that maps the documents of a split to other documents."""


def kept_text(artifacts: Path, name: str) -> PreparedCorpus | None:
    """Return the stored documents of a kernel with their split; None when the run stores none.

    A kernel of the run itself learned from its part of the corpus, whatever was added before.

    Raises:
        ArtifactError: The stored text is damaged.
    """
    return _of_corpus(artifacts, name) or _added(artifacts, name)


def is_kept(text: Path, artifacts: Path, name: str) -> bool:
    """Return whether a path lies in the text that the run stores for a kernel."""
    return any(_leads_to(text, artifacts / part) for part in (f"{ADDED}/{name}", CORPUS))


def prepared_text(text: Path, artifacts: Path, name: str) -> PreparedCorpus | None:
    """Return the documents of a path under one domain, if they were split before.

    Returns:
        The text that the run keeps for the kernel if `text` lies in it, or a corpus that another
        run has prepared; None for text that has still to be read and split.

    Raises:
        ArtifactError: The prepared text is damaged.
    """
    if _leads_to(text, artifacts / ADDED / name):
        return _added(artifacts, name)
    if _leads_to(text, artifacts / CORPUS):
        return _of_corpus(artifacts, name)
    if all((text / file).is_file() for file in (MANIFEST, *(f"{part}.jsonl" for part in SPLITS))):
        return renamed(load_prepared(text), name)
    return None


def of_domain(corpus: PreparedCorpus, name: str) -> PreparedCorpus:
    """Return the documents of one domain alone."""
    return _changed(corpus, lambda documents: (d for d in documents if d.domain == name))


def renamed(corpus: PreparedCorpus, name: str) -> PreparedCorpus:
    """Return all documents, assigned to one domain."""
    return _changed(corpus, lambda documents: (replace(d, domain=name) for d in documents))


def _leads_to(text: Path, folder: Path) -> bool:
    return text.resolve().is_relative_to(folder.resolve())


def _added(artifacts: Path, name: str) -> PreparedCorpus | None:
    folder = artifacts / ADDED / name
    return load_prepared(folder) if (folder / MANIFEST).is_file() else None


def _of_corpus(artifacts: Path, name: str) -> PreparedCorpus | None:
    if not (artifacts / CORPUS / MANIFEST).is_file():
        return None
    corpus = load_prepared(artifacts / CORPUS)
    return of_domain(corpus, name) if name in corpus.domains else None


def _changed(corpus: PreparedCorpus, change: Change) -> PreparedCorpus:
    splits = {part: tuple(change(corpus.of_split(part))) for part in SPLITS}
    counted = {part: describe(documents) for part, documents in splits.items()}
    return PreparedCorpus(**splits, manifest={**corpus.manifest, "splits": counted})
