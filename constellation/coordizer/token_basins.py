"""Basins of tokens without a tokenizer: what a kernel needs to follow where its text goes.

It holds the coordinates alone (4 bytes for each token and outcome); neither torch nor `tokenizers`.

Shapes: V tokens of the vocabulary, K outcomes.
"""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from constellation.coordizer.artifacts import read_parts
from constellation.coordizer.fold import Folder


def geometry_hash(
    tokenizer_hash: str, conditional_VK: NDArray[Any], background_K: NDArray[Any], settings: str
) -> str:
    """Return the sha256 (hex) of vocabulary, coordinates, background and fold: what routing sees.

    Args:
        tokenizer_hash: Of the vocabulary and merges.
        conditional_VK: p(z | token).
        background_K: Corpus background pi.
        settings: `Folder.settings` of the fold.
    """
    digest = hashlib.sha256(tokenizer_hash.encode())
    digest.update(conditional_VK.tobytes())
    digest.update(background_K.tobytes())
    digest.update(settings.encode())
    return digest.hexdigest()


@lru_cache(maxsize=2)  # a switch to another release needs both for a moment
def read_folder(folder: Path) -> tuple[Folder, str]:
    """Read what folds tokens into basins, and the hash of its coordizer; once in a process.

    Raises:
        ArtifactError: A file is missing or damaged.
    """
    parts = read_parts(folder)
    folder_of_tokens = Folder(parts.conditional_VK, parts.background_K)
    tokenizer_hash = parts.vocabulary.sha256()
    settings = folder_of_tokens.settings()
    known_as = geometry_hash(tokenizer_hash, parts.conditional_VK, parts.background_K, settings)
    return folder_of_tokens, known_as
