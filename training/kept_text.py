"""Text of a kernel that a run keeps: what `add` prepared, or the kernel's part of the corpus.

Such text is split already. It is taken as it lies there, never read and split again.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from constellation.curricula.corpus import Document
from constellation.curricula.prepare import PreparedCorpus, describe
from constellation.curricula.split import SPLITS
from constellation.curricula.store import MANIFEST, load_prepared

ADDED: Final = "added"
"""Folder of the text of added kernels, a folder for each."""
CORPUS: Final = "corpus"
"""Folder of the text that the run itself was made from."""

Change = Callable[[Iterable[Document]], Iterable[Document]]
"""What becomes of the documents of a split."""


def kept_text(artifacts: Path, name: str) -> PreparedCorpus | None:
    """Return the documents of a kernel, split as they were; None when the run keeps none.

    Raises:
        ArtifactError: What the run keeps is damaged.
    """
    added = artifacts / ADDED / name
    if (added / MANIFEST).is_file():
        return load_prepared(added)
    if not (artifacts / CORPUS / MANIFEST).is_file():
        return None
    corpus = load_prepared(artifacts / CORPUS)
    return of_domain(corpus, name) if name in corpus.domains else None


def is_kept(text: Path, artifacts: Path, name: str) -> bool:
    """Return whether a path leads to text that the run keeps for a kernel."""
    place = text.resolve()
    kept = (artifacts.resolve() / ADDED / name, artifacts.resolve() / CORPUS)
    return any(place == folder or folder in place.parents for folder in kept)


def prepared_text(text: Path, artifacts: Path, name: str) -> PreparedCorpus | None:
    """Return the documents of a path under one domain, when they have been split before.

    Args:
        text: What a user names as the text of a kernel.
        artifacts: The run's folder.
        name: Of the kernel and its domain.

    Returns:
        The text that the run keeps for the kernel if `text` lies in it, or a corpus that another
        run has prepared; None for text that has still to be read and split.

    Raises:
        ArtifactError: The prepared text is damaged.
    """
    if is_kept(text, artifacts, name):
        return kept_text(artifacts, name)
    if all((text / file).is_file() for file in (MANIFEST, *(f"{part}.jsonl" for part in SPLITS))):
        return renamed(load_prepared(text), name)
    return None


def of_domain(corpus: PreparedCorpus, name: str) -> PreparedCorpus:
    """Return the documents of one domain alone."""
    return _changed(corpus, lambda documents: (d for d in documents if d.domain == name))


def renamed(corpus: PreparedCorpus, name: str) -> PreparedCorpus:
    """Return all documents under one domain."""
    return _changed(corpus, lambda documents: (replace(d, domain=name) for d in documents))


def _changed(corpus: PreparedCorpus, change: Change) -> PreparedCorpus:
    splits = {part: tuple(change(corpus.of_split(part))) for part in SPLITS}
    counted = {part: describe(documents) for part, documents in splits.items()}
    return PreparedCorpus(**splits, manifest={**corpus.manifest, "splits": counted})
