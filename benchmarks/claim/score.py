"""Score kernels on held-out documents: nats of every token under every kernel, once.

All rules are arithmetic on these numbers. Shapes: D documents, N tokens of all of them one after
another, T tokens of one, M kernels.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.claim.material import HeldOut
from constellation.kernel.files.checkpoint import load_kernel
from constellation.kernel.writing.scoring import token_nats
from constellation.records import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Documents:
    """Held-out documents as one file of tokens, for the processes that score."""

    path: Path
    """Token ids of all, one after another."""
    lengths: tuple[int, ...]
    """Tokens of each."""
    end_id: int
    """Token that opens a document."""

    @classmethod
    def write(cls, folder: Path, documents: Sequence[HeldOut], end_id: int) -> "Documents":
        """Store the documents' tokens in `folder`."""
        tokens = np.concatenate([document.ids for document in documents])
        lengths = tuple(len(document.ids) for document in documents)
        digest = hashlib.sha256(tokens.tobytes() + str(lengths).encode()).hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"documents-{digest[:16]}.npy"
        np.save(path, tokens)
        return cls(path, lengths, end_id)

    def cut(self, values_N: FloatArray) -> list[FloatArray]:
        """Return the part of each document."""
        return np.split(values_N, np.cumsum(self.lengths)[:-1], axis=-1)


def score_all(
    kernels: Sequence[Path], documents: Documents, pool: ProcessPoolExecutor
) -> list[FloatArray]:
    """Return the nats of every token under each kernel, shape (N,) for each of the M kernels."""
    return list(pool.map(score_one, kernels, [documents] * len(kernels)))


def score_one(kernel: Path, documents: Documents) -> FloatArray:
    """Return the nats of every token, shape (N,); kept beside the kernel and read from there."""
    loaded = load_kernel(kernel)
    kept = kernel / f"{documents.path.stem}-{loaded.weights_hash[:16]}.npy"
    if kept.is_file():
        found: FloatArray = np.load(kept).astype(np.float64)
        return found
    tokens = np.load(documents.path)
    nats_N = np.concatenate(
        [
            token_nats(loaded.decoder, [documents.end_id, *ids.tolist()]).numpy()
            for ids in documents.cut(tokens)
        ]
    )
    np.save(kept, nats_N)
    return nats_N.astype(np.float64)
