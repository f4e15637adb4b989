"""Coordizer: encode text to tokens, decode tokens, and compute a text's basin (simplex point).

For inference only: numpy and `tokenizers`, never torch. A loaded coordizer is immutable; training
and extension return new coordizers.

Shapes: V tokens of the vocabulary, K outcomes, T tokens of one text.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from constellation.coordizer.artifacts import CoordizerParts, Provenance, read_parts, write_parts
from constellation.coordizer.basin_estimator import BasinEstimator
from constellation.coordizer.encoding import Encoder
from constellation.coordizer.token_basins import geometry_hash
from constellation.coordizer.vocabulary import END_ID, Vocabulary
from constellation.errors import InvalidRequest
from constellation.records import FloatArray, TokenArray, TokenInfluence

if TYPE_CHECKING:
    from constellation.coordizer.coordinates import Coordinates


class Coordizer:
    """Tokenizer with a coordinate, a point on the simplex of K outcomes, for every token."""

    def __init__(self, parts: CoordizerParts) -> None:
        """Build a coordizer from its parts; callers use `load` or `train_coordizer` instead."""
        self._parts = parts
        self._token_bytes = parts.vocabulary.token_bytes()
        self._encoder = Encoder(parts.vocabulary)
        self._basin_estimator = BasinEstimator(parts.conditional_VK, parts.background_K)
        self.background_K: FloatArray = _read_only(parts.background_K)
        """The corpus background pi: the basin of a text without informative tokens."""
        self.conditional_VK: NDArray[np.float32] = _read_only(parts.conditional_VK)
        """Coordinate p(z | token) of every token, rows on the simplex, shape (V, K)."""

    @classmethod
    def load(cls, folder: str | Path) -> "Coordizer":
        """Load and check a coordizer's folder.

        Raises:
            ArtifactError: Names the file that is missing, damaged or does not fit the others.
        """
        return cls(read_parts(Path(folder)))

    def save(self, folder: str | Path) -> None:
        """Store the coordizer as a folder; after a failure the old folder is unchanged."""
        write_parts(Path(folder), self._parts)

    @property
    def basin_estimator(self) -> BasinEstimator:
        """Estimator of basins from tokens, under this coordizer's coordinates."""
        return self._basin_estimator

    @property
    def vocab_size(self) -> int:
        """Number of tokens V, the end token and extension tokens included."""
        return len(self._token_bytes)

    @property
    def end_id(self) -> int:
        """Id of the token that ends a document; no text encodes to it."""
        return END_ID

    @property
    def parts(self) -> CoordizerParts:
        """All data of this coordizer, for making another coordizer from the data."""
        return self._parts

    @property
    def vocabulary(self) -> Vocabulary:
        """Tokens and merge rules as plain data."""
        return self._parts.vocabulary

    @property
    def provenance(self) -> Provenance:
        """Corpus, seed, training times and measured statistics of this coordizer."""
        return self._parts.provenance

    @property
    def coordinates(self) -> "Coordinates":
        """The soft counts behind the coordinates, to which corpora can be added and removed."""
        from constellation.coordizer.coordinates import Coordinates

        return Coordinates(
            counts_VK=self._parts.counts_VK,
            background_K=self._parts.background_K,
            blocks=self._parts.blocks,
            smoothing=self._parts.smoothing,
        )

    @cached_property
    def tokenizer_hash(self) -> str:
        """sha256 (hex) of vocabulary and merges alone, which is all that a kernel depends on."""
        return self._parts.vocabulary.sha256()

    @cached_property
    def hash(self) -> str:
        """sha256 (hex) of all that decides a basin: vocabulary, coordinates, background, EM."""
        settings = self._basin_estimator.settings()
        return geometry_hash(self.tokenizer_hash, self.conditional_VK, self.background_K, settings)

    def tokenizer(self) -> Tokenizer:
        """Return a new `tokenizers` object with the same vocabulary and merges."""
        return self._parts.vocabulary.build()

    def with_coordinates(self, coordinates: "Coordinates") -> "Coordizer":
        """Return a coordizer with the same tokens and other coordinates, such as refitted ones."""
        parts = replace(
            self._parts,
            conditional_VK=coordinates.conditional(),
            background_K=coordinates.background_K,
            counts_VK=coordinates.counts_VK,
            blocks=coordinates.blocks,
            smoothing=coordinates.smoothing,
        )
        return Coordizer(parts)

    def with_provenance(self, provenance: Provenance) -> "Coordizer":
        """Return the same coordizer with another record of its origin."""
        return Coordizer(replace(self._parts, provenance=provenance))

    def encode(self, text: str | bytes) -> TokenArray:
        """Return the tokens of a text, int32, shape (T,).

        `decode` returns every byte string exactly. Lone surrogates in a `str` are encoded as their
        three bytes. The characters `<|end|>` are ordinary text.
        """
        return self._encoder.encode(text)

    def encode_batch(self, texts: Sequence[str | bytes]) -> list[TokenArray]:
        """Return the tokens of each text, as `encode` does, using all CPU cores."""
        return self._encoder.encode_batch(texts)

    def decode(self, ids: Sequence[int] | TokenArray) -> bytes:
        """Return the bytes of tokens; the end token stands for no bytes.

        Raises:
            InvalidRequest: When an id is outside the vocabulary.
        """
        ids_T = np.asarray(ids, dtype=np.int64)
        if ids_T.size and not 0 <= ids_T.min() <= ids_T.max() < self.vocab_size:
            wrong = ids_T[(ids_T < 0) | (ids_T >= self.vocab_size)][0]
            raise InvalidRequest("token id", int(wrong), f"0 to {self.vocab_size - 1}")
        return b"".join(map(self._token_bytes.__getitem__, ids_T.tolist()))

    def decode_text(self, ids: Sequence[int] | TokenArray) -> str:
        """Return the text of tokens; bytes that are not UTF-8 become U+FFFD."""
        return self.decode(ids).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes of one token, for decoding a stream token by token.

        Raises:
            InvalidRequest: When the id is outside the vocabulary.
        """
        if not 0 <= token_id < len(self._token_bytes):
            raise InvalidRequest("token id", token_id, f"0 to {self.vocab_size - 1}")
        return self._token_bytes[token_id]

    def basin(self, ids: Sequence[int] | TokenArray) -> FloatArray:
        """Return the basin of tokens, a simplex point, shape (K,); pi for no tokens.

        Raises:
            InvalidRequest: When an id is outside the vocabulary.
        """
        return self._basin_estimator.basin(ids)

    def influences(
        self, ids: Sequence[int] | TokenArray, top: int = 5
    ) -> tuple[TokenInfluence, ...]:
        """Return the tokens that moved the basin most, the largest shift first, at most `top`."""
        shifts_T = self._basin_estimator.influence(ids)
        order = np.argsort(-shifts_T, kind="stable")[:top]
        return tuple(
            TokenInfluence(
                text=self.decode_text([int(ids[position])]),
                position=int(position),
                shift=float(shifts_T[position]),
            )
            for position in order
        )


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view
