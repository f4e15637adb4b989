"""What a router reads of a text: its tokens, where it lies, and which tokens say so."""

from dataclasses import dataclass

from actors.router.ports import TextGeometry
from constellation.coordizer.evidence import evidence_tokens
from constellation.records import FloatArray, RoutingOptions, TokenArray, TokenInfluence
from constellation.wire import tracing
from constellation.wire.long_texts import LongTexts
from constellation.wire.tracing import Span

INFLUENCES = 5
"""Tokens named in an explanation."""


@dataclass(frozen=True, slots=True)
class Query:
    """A text as the router reads it."""

    tokens: TokenArray
    """All tokens: what a kernel reads."""
    evidence: TokenArray
    """Tokens that the basin is folded from: without white space at the ends of the text."""
    basin_K: FloatArray
    influences: tuple[TokenInfluence, ...] = ()
    """The tokens that moved the basin most, where an explanation was asked for."""


class Reader:
    """Reads texts; long ones leave the event loop to others meanwhile.

    Args:
        coordizer: Knows tokens and basins; two threads may use it.
        waiting_max: Long texts that may wait.
    """

    def __init__(self, coordizer: TextGeometry, *, waiting_max: int) -> None:
        self._coordizer = coordizer
        self._texts = LongTexts("this router", waiting_max=waiting_max)

    async def tokens(self, text: str, *, timeout_s: float) -> TokenArray:
        """Return the tokens of a text; errors as for `LongTexts.read`."""
        return await self._texts.read(
            text, lambda: self._coordizer.encode(text), timeout_s=timeout_s
        )

    async def query(
        self, text: str, options: RoutingOptions, *, timeout_s: float, span: Span | None = None
    ) -> Query:
        """Return all that routing needs of a text; errors as for `LongTexts.read`.

        Args:
            text: What is read.
            options: A basin in it stands for the text's own.
            timeout_s: Seconds it may take.
            span: Of the request.
        """
        # An explanation of 1,000 characters takes 2 to 10 ms, however common the words are.
        return await tracing.during_wait(
            span,
            "basin",
            lambda: self._texts.read(
                text,
                lambda: self._read(text, options),
                timeout_s=timeout_s,
                is_slow=options.explain,
            ),
        )

    def close(self) -> None:
        """Drop the long texts that wait."""
        self._texts.close()

    def _read(self, text: str, options: RoutingOptions) -> Query:
        tokens = self._coordizer.encode(text)
        counted = evidence_tokens(text, tokens, self._coordizer.encode)
        given_K = options.basin_K
        return Query(
            tokens,
            counted,
            self._coordizer.basin(counted) if given_K is None else given_K,
            self._coordizer.influences(counted, INFLUENCES) if options.explain else (),
        )
