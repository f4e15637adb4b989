"""What a kernel's basin is made of, as a msgpack file: a sum of square roots for each source.

    {"schema": 1, "sha256": digest of content, "content": msgpack of kernel, coordizer and sources}

Written by training, once, and never changed: what was unlearned is named in the table, so that one
file says all and is replaced whole. Shapes: K outcomes of the simplex.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from constellation.errors import ArtifactError
from constellation.files import write_whole
from constellation.geometry.means import HellingerSum

SCHEMA_VERSION = 1
_BYTES_MAX = 64 * 1024 * 1024


def texts_path(artifacts: Path, kernel: str) -> Path:
    """Return where the file of a kernel lies."""
    return artifacts / "texts" / f"{kernel}.msgpack"


def save_texts(
    artifacts: Path, kernel: str, sources: Mapping[str, HellingerSum], *, coordizer_hash: str
) -> Path:
    """Write the file of a kernel, so that a reader sees the old one or the new one; return it."""
    content = bytes(
        msgpack.packb(
            {
                "kernel": kernel,
                "coordizer_hash": coordizer_hash,
                "sources": [
                    [name, np.asarray(each.root_sum_K, dtype="<f8").tobytes(), each.count]
                    for name, each in sources.items()
                ],
            }
        )
    )
    digest = hashlib.sha256(content).digest()
    path = texts_path(artifacts, kernel)
    envelope = {"schema": SCHEMA_VERSION, "sha256": digest, "content": content}
    write_whole(path, bytes(msgpack.packb(envelope)))
    return path


def load_texts(artifacts: Path, kernel: str, *, coordizer_hash: str) -> dict[str, HellingerSum]:
    """Return source -> its sum of square roots and count, of a kernel's training text.

    Raises:
        ArtifactError: There is none, or it is damaged, of another kernel or of another coordizer.
    """
    path = texts_path(artifacts, kernel)
    try:
        envelope = msgpack.unpackb(path.read_bytes(), max_bin_len=_BYTES_MAX)
        if envelope["schema"] != SCHEMA_VERSION:
            raise ArtifactError(path, f"schema {envelope['schema']!r} is not {SCHEMA_VERSION}")
        if envelope["sha256"] != hashlib.sha256(envelope["content"]).digest():
            raise ArtifactError(path, "damaged: its digest does not fit; make the artifacts again")
        content = msgpack.unpackb(envelope["content"], max_bin_len=_BYTES_MAX)
        if (content["kernel"], content["coordizer_hash"]) != (kernel, coordizer_hash):
            raise ArtifactError(path, "is another kernel's or another coordizer's; train again")
        return {name: _sum(roots, count) for name, roots, count in content["sources"]}
    except OSError as error:
        raise ArtifactError(
            path, f"cannot be read: {error.strerror}; kernels trained since have one"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, msgpack.UnpackException) as error:
        raise ArtifactError(path, f"not a record of texts: {error!r}") from error


def _sum(roots: bytes, count: Any) -> HellingerSum:
    return HellingerSum(root_sum_K=np.frombuffer(roots, dtype="<f8"), count=int(count))
