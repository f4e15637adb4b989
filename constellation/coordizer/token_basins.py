"""Load what a process needs to compute basins (simplex points) of token ids: no tokenizer.

A kernel's process uses it to follow the basin of the text that the kernel writes. It holds the
coordinates alone (4 bytes for each token and outcome); neither torch nor `tokenizers` objects.

Shapes: V tokens of the vocabulary, K outcomes.
"""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from constellation.coordizer.artifacts import read_parts
from constellation.coordizer.basin_estimator import BasinEstimator


def geometry_hash(
    tokenizer_hash: str, conditional_VK: NDArray[Any], background_K: NDArray[Any], settings: str
) -> str:
    """Return the sha256 (hex) of all that decides a basin; it identifies a coordizer to routers.

    The settings are `BasinEstimator.settings` of the estimator.
    """
    digest = hashlib.sha256(tokenizer_hash.encode())
    digest.update(conditional_VK.tobytes())
    digest.update(background_K.tobytes())
    digest.update(settings.encode())
    return digest.hexdigest()


@lru_cache(maxsize=2)  # during a switch of releases both coordizers are in use
def read_estimator(folder: Path) -> tuple[BasinEstimator, str]:
    """Read the estimator of basins from a coordizer's folder, and the coordizer's hash; cached.

    Raises:
        ArtifactError: A file is missing or damaged.
    """
    parts = read_parts(folder)
    estimator = BasinEstimator(parts.conditional_VK, parts.background_K)
    tokenizer_hash = parts.vocabulary.sha256()
    settings = estimator.settings()
    coordizer_hash = geometry_hash(
        tokenizer_hash, parts.conditional_VK, parts.background_K, settings
    )
    return estimator, coordizer_hash
