"""Write and read the text record of a kernel (its tokenised documents) as a msgpack file.

    {"schema": 1, "sha256": digest of content, "content": msgpack of the record}

The same record gives the same bytes. Tokens, ends and counts are little-endian arrays stored as
bytes. Reading refuses bytes that writing would not have produced.
"""

import hashlib
from typing import Any, Final

import msgpack
import numpy as np
from numpy.typing import NDArray

from constellation.domains.encoded_documents import Documents, token_dtype
from constellation.domains.record import Domain, Spawned
from constellation.domains.soft_counts import SIZES, SoftCounts
from constellation.errors import ArtifactError, ConfigError, InvalidRequest
from constellation.wire.packed_records import packed

SCHEMA_VERSION: Final = 1


def pack_domain(domain: Domain) -> bytes:
    """Return the bytes of a record's file."""
    content = bytes(msgpack.packb(packed(domain)))
    digest = hashlib.sha256(content).digest()
    envelope = {"schema": SCHEMA_VERSION, "sha256": digest, "content": content}
    return bytes(msgpack.packb(envelope))


def unpack_domain(data: bytes, *, source: object = "domain") -> Domain:
    """Read a record from the bytes of its file.

    Raises:
        ArtifactError: `data` is not a record of this schema; the message names `source`.
    """
    try:
        domain = _unpack(msgpack.unpackb(data), source)
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        ConfigError,
        InvalidRequest,
        msgpack.UnpackException,
    ) as error:
        raise ArtifactError(source, f"not a record of a domain: {error!r}") from error
    if pack_domain(domain) != data:
        raise ArtifactError(
            source, "differs from what this version writes for the same record; make it again"
        )
    return domain


def _unpack(envelope: dict[str, Any], source: object) -> Domain:
    if envelope["schema"] != SCHEMA_VERSION:
        raise ArtifactError(
            source, f"has schema {envelope['schema']!r}; this version reads {SCHEMA_VERSION}"
        )
    if envelope["sha256"] != hashlib.sha256(envelope["content"]).digest():
        raise ArtifactError(source, "damaged: its digest does not fit; make it again")
    content = msgpack.unpackb(envelope["content"])
    ids = token_dtype(int(content["vocab_size"])).newbyteorder("<")
    counts, spawned = content["counts"], content["spawned"]
    return Domain(
        name=content["name"],
        tokenizer_hash=content["tokenizer_hash"],
        vocab_size=content["vocab_size"],
        train=_unpack_documents(content["train"], ids),
        dev=_unpack_documents(content["dev"], ids),
        counts=None if counts is None else _unpack_counts(counts),
        unlearned=tuple(content["unlearned"]),
        phi_gauge=content["phi_gauge"],
        spawned=None if spawned is None else _unpack_spawned(spawned),
    )


def _unpack_documents(content: dict[str, Any], ids: np.dtype[Any]) -> Documents:
    return Documents(
        tokens_T=np.frombuffer(content["tokens"], dtype=ids),
        ends_N=_integers(content["ends"]),
        kept_N=_integers(content["kept"]),
        rest_T=np.frombuffer(content["rest"], dtype=ids),
        rest_ends_N=_integers(content["rest_ends"]),
        sources=tuple(content["sources"]),
        source_N=_integers(content["source"]),
    )


def _unpack_counts(content: dict[str, Any]) -> SoftCounts:
    return SoftCounts(
        seed=content["seed"],
        ids_U=_integers(content["ids"]),
        total_U=_floats(content["total"]),
        by_size={size: _floats(content["by_size"][str(size)]).reshape(-1, size) for size in SIZES},
    )


def _unpack_spawned(content: dict[str, Any]) -> Spawned:
    return Spawned(parent=content["parent"], documents_N=_integers(content["documents"]))


def _integers(data: bytes) -> NDArray[np.int64]:
    return np.frombuffer(data, dtype="<i8")


def _floats(data: bytes) -> NDArray[np.float64]:
    return np.frombuffer(data, dtype="<f8")
