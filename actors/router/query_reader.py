"""Reading a query: the tokens of a text, its basin, and the tokens that moved the basin most."""

from dataclasses import dataclass

from actors.router.interfaces import TextGeometry
from constellation.coordizer.evidence import evidence_tokens
from constellation.records import FloatArray, RoutingOptions, TokenArray, TokenInfluence
from constellation.wire import request_tracing
from constellation.wire.long_texts import LongTexts
from constellation.wire.request_tracing import Span

INFLUENCES = 5
"""Tokens named in an explanation."""


@dataclass(frozen=True, slots=True)
class Query:
    """A text as the router reads it, under the coordinates of one table."""

    tokens: TokenArray
    """All tokens of the text, which a kernel is sent."""
    evidence: TokenArray
    """Tokens that the basin is folded from: without white space at the ends of the text."""
    basin_K: FloatArray
    coordizer_hash: str
    """Of the coordinates by which the basin was folded."""
    influences: tuple[TokenInfluence, ...] = ()
    """The tokens that moved the basin most, where an explanation was asked for."""

    def under(self, coordizer: TextGeometry, options: RoutingOptions) -> "Query":
        """Return the query under the coordinates of a coordizer with the same tokens.

        A switch to a release with other coordinates may happen while a request is under way. A
        basin of one release and a table of another would give a meaningless route.
        """
        if coordizer.hash == self.coordizer_hash:
            return self
        return read_query(coordizer, self.tokens, self.evidence, options)


def read_query(
    coordizer: TextGeometry, tokens: TokenArray, counted: TokenArray, options: RoutingOptions
) -> Query:
    """Return all that routing needs of a text.

    Args:
        coordizer: Whose coordinates are used.
        tokens: All tokens of the text.
        counted: Tokens that the basin is folded from, without white space at the ends of the text.
        options: A basin in the options replaces the text's own.
    """
    given_K = options.basin_K
    return Query(
        tokens=tokens,
        evidence=counted,
        basin_K=coordizer.basin(counted) if given_K is None else given_K,
        coordizer_hash=coordizer.hash,
        influences=coordizer.influences(counted, INFLUENCES) if options.explain else (),
    )


class Reader:
    """Reads texts; long texts are read in a thread, so that other requests do not wait.

    Args:
        waiting_max: Long texts that may wait for the thread.
    """

    def __init__(self, *, waiting_max: int) -> None:
        self._texts = LongTexts("this router", waiting_max=waiting_max)

    async def tokens(self, coordizer: TextGeometry, text: str, *, timeout_s: float) -> TokenArray:
        """Return the tokens of a text; errors as for `LongTexts.read`."""
        return await self._texts.read(text, lambda: coordizer.encode(text), timeout_s=timeout_s)

    async def query(
        self,
        coordizer: TextGeometry,
        text: str,
        options: RoutingOptions,
        *,
        timeout_s: float,
        span: Span | None = None,
    ) -> Query:
        """Return all that routing needs of a text; errors as for `LongTexts.read`.

        Args:
            coordizer: Encodes and folds; two threads may use the coordizer at once.
            text: The text of the query.
            options: A basin in the options replaces the text's own.
            timeout_s: Seconds that reading may take.
            span: Span of the request; None without tracing.
        """
        # An explanation of 1,000 characters takes 2 to 10 ms, however common the words are.
        return await request_tracing.during_wait(
            span,
            "basin",
            lambda: self._texts.read(
                text,
                lambda: _read(coordizer, text, options),
                timeout_s=timeout_s,
                is_slow=options.explain,
            ),
        )

    def close(self) -> None:
        """Drop the long texts that wait for the thread."""
        self._texts.close()


def _read(coordizer: TextGeometry, text: str, options: RoutingOptions) -> Query:
    tokens = coordizer.encode(text)
    counted = evidence_tokens(text, tokens, coordizer.encode)
    return read_query(coordizer, tokens, counted, options)
