"""The coordizer: text to tokens, tokens to a basin, and back to text.

Inference only: numpy and `tokenizers`, never torch. A loaded coordizer does not change; training
and extension make new ones.

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
from constellation.coordizer.encoding import Encoder
from constellation.coordizer.fold import Folder
from constellation.coordizer.token_basins import geometry_hash
from constellation.coordizer.vocabulary import END_ID, Vocabulary
from constellation.errors import InvalidRequest
from constellation.records import FloatArray, TokenArray, TokenInfluence

if TYPE_CHECKING:
    from constellation.coordizer.coordinates import Coordinates


class Coordizer:
    """Tokenizer with coordinates."""

    def __init__(self, parts: CoordizerParts) -> None:
        """Put the parts to work; `load` and `train_coordizer` are the ways to get them."""
        self._parts = parts
        self._token_bytes = parts.vocabulary.token_bytes()
        self._encoder = Encoder(parts.vocabulary)
        self._folder = Folder(parts.conditional_VK, parts.background_K)
        self.background_K: FloatArray = _read_only(parts.background_K)
        """The corpus background pi: where texts that say nothing lie."""
        self.conditional_VK: NDArray[np.float32] = _read_only(parts.conditional_VK)
        """Every token's coordinate p(z | token), rows on the simplex."""

    @classmethod
    def load(cls, folder: str | Path) -> "Coordizer":
        """Load and check a coordizer's folder.

        Raises:
            ArtifactError: Names the file that is missing, damaged or does not fit the others.
        """
        return cls(read_parts(Path(folder)))

    def save(self, folder: str | Path) -> None:
        """Store the coordizer as a folder, whole or not at all."""
        write_parts(Path(folder), self._parts)

    @property
    def folder(self) -> Folder:
        """What turns tokens into basins."""
        return self._folder

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
        """All that this coordizer is made of, for making another one."""
        return self._parts

    @property
    def vocabulary(self) -> Vocabulary:
        """Tokens and merge rules as plain data."""
        return self._parts.vocabulary

    @property
    def provenance(self) -> Provenance:
        """Corpus, seed, times and statistics of the training."""
        return self._parts.provenance

    @property
    def coordinates(self) -> "Coordinates":
        """The soft counts behind the coordinates, for adding and removing corpora."""
        from constellation.coordizer.coordinates import Coordinates

        return Coordinates(
            counts_VK=self._parts.counts_VK,
            background_K=self._parts.background_K,
            blocks=self._parts.blocks,
            smoothing=self._parts.smoothing,
        )

    @cached_property
    def tokenizer_hash(self) -> str:
        """sha256 (hex) of the vocabulary and merges alone: kernels depend on no more."""
        return self._parts.vocabulary.sha256()

    @cached_property
    def hash(self) -> str:
        """sha256 (hex) of vocabulary, coordinates, background and fold: what routing sees."""
        settings = self._folder.settings()
        return geometry_hash(self.tokenizer_hash, self.conditional_VK, self.background_K, settings)

    def tokenizer(self) -> Tokenizer:
        """Return a `tokenizers` object of its own with the same vocabulary and merges."""
        return self._parts.vocabulary.build()

    def with_coordinates(self, coordinates: "Coordinates") -> "Coordizer":
        """Return a coordizer with the same tokens at other coordinates, such as a refit."""
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
        """Return the same coordizer with another account of its origin."""
        return Coordizer(replace(self._parts, provenance=provenance))

    def encode(self, text: str | bytes) -> TokenArray:
        """Return the tokens of a text, int32, shape (T,).

        Every byte string comes back from `decode` exactly. Lone surrogates in a `str` are encoded
        as their three bytes. The characters `<|end|>` are text like any other.
        """
        return self._encoder.encode(text)

    def encode_batch(self, texts: Sequence[str | bytes]) -> list[TokenArray]:
        """Return `encode` of each text, on all cores."""
        return self._encoder.encode_batch(texts)

    def decode(self, ids: Sequence[int] | TokenArray) -> bytes:
        """Return the bytes of the tokens; the end token has none.

        Raises:
            InvalidRequest: When an id is outside the vocabulary.
        """
        ids_T = np.asarray(ids, dtype=np.int64)
        if ids_T.size and not 0 <= ids_T.min() <= ids_T.max() < self.vocab_size:
            wrong = ids_T[(ids_T < 0) | (ids_T >= self.vocab_size)][0]
            raise InvalidRequest("token id", int(wrong), f"0 to {self.vocab_size - 1}")
        return b"".join(map(self._token_bytes.__getitem__, ids_T.tolist()))

    def decode_text(self, ids: Sequence[int] | TokenArray) -> str:
        """Return the tokens as text; bytes that are not UTF-8 become U+FFFD."""
        return self.decode(ids).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes of one token, for streams.

        Raises:
            InvalidRequest: When the id is outside the vocabulary.
        """
        if not 0 <= token_id < len(self._token_bytes):
            raise InvalidRequest("token id", token_id, f"0 to {self.vocab_size - 1}")
        return self._token_bytes[token_id]

    def basin(self, ids: Sequence[int] | TokenArray) -> FloatArray:
        """Return the basin of the tokens, a simplex point, shape (K,); pi when there are none.

        Raises:
            InvalidRequest: When an id is outside the vocabulary.
        """
        return self._folder.fold(ids)

    def influences(
        self, ids: Sequence[int] | TokenArray, top: int = 5
    ) -> tuple[TokenInfluence, ...]:
        """Return the tokens that moved the basin most, largest shift first, at most `top`."""
        shifts_T = self._folder.influence(ids)
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
