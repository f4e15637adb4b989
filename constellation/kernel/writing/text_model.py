"""A network together with a vocabulary of its own: text goes in, and text is scored.

Our own networks with symbols, and models of `transformers`, are such models.
"""

from math import log
from typing import Protocol

from constellation.kernel.writing.network_interface import Network
from constellation.kernel.writing.scoring import token_nats
from constellation.records import Score


class TextTokens(Protocol):
    """A vocabulary: text to ids, and the bytes that an id stands for."""

    @property
    def token_bytes(self) -> tuple[bytes, ...]:
        """Bytes of every id; empty for tokens that are no text, such as an end."""
        ...

    def encode(self, text: str, *, opens: bool) -> list[int]:
        """Return the ids of a text.

        Args:
            text: What is read.
            opens: Whether it is the beginning, before which some models want a token of their own.

        Raises:
            UnknownSymbol: The text has a symbol that the vocabulary lacks.
        """
        ...


class TextModel(Protocol):
    """A network and its vocabulary."""

    @property
    def name(self) -> str:
        """Of its folder, which is the kernel's."""
        ...

    @property
    def network(self) -> Network:
        """Computes the next token."""
        ...

    @property
    def tokens(self) -> TextTokens:
        """Its vocabulary."""
        ...

    @property
    def opening_id(self) -> int | None:
        """Stands before a text whose first token is scored; None: the model has no such token."""
        ...


def score_text(model: TextModel, context: str, text: str) -> Score:
    """Say how likely `text` is after `context`.

    Each is cut into tokens by itself. The first token of all is read after the token that begins a
    text; where the model has none it counts as one of equally likely ones.

    The context is read and not scored; it may be empty.

    Raises:
        UnknownSymbol: The vocabulary lacks a symbol of the two.
    """
    before = model.tokens.encode(context, opens=False) if context else []
    scored = model.tokens.encode(text, opens=False) if text else []
    opening = [] if model.opening_id is None else [model.opening_id]
    num_given = len(opening) + len(before)
    ids = [*opening, *before, *scored]
    known = 0.0
    if num_given == 0 and scored:
        known, num_given = log(model.network.config.vocab_size), 1
    nats = 0.0
    if len(ids) > num_given:
        nats = float(token_nats(model.network, ids).double()[num_given - 1 :].sum())
    return Score(nats=known + nats, num_tokens=len(scored))
