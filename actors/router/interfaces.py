"""Interfaces that a router's host uses: a coordizer, its source, and the registry."""

from typing import Protocol

from constellation.records import (
    Change,
    Changed,
    FloatArray,
    Table,
    TokenArray,
    TokenInfluence,
)


class TextGeometry(Protocol):
    """What a router needs of a coordizer."""

    background_K: FloatArray

    @property
    def hash(self) -> str:
        """Identity of vocabulary and coordinates."""
        ...

    def encode(self, text: str) -> TokenArray:
        """Return the text's token ids."""
        ...

    def basin(self, ids: TokenArray) -> FloatArray:
        """Return the basin of tokens."""
        ...

    def decode(self, ids: TokenArray) -> bytes:
        """Return the bytes of tokens."""
        ...

    def influences(self, ids: TokenArray, top: int = 5) -> tuple[TokenInfluence, ...]:
        """Return the tokens that moved the basin most."""
        ...


class CoordizerSource(Protocol):
    """Source of coordizers: a release may bring a coordizer of its own."""

    def of_table(self, table: Table) -> TextGeometry:
        """Return the coordizer whose basins a table holds; may read files.

        Raises:
            ArtifactError: The coordizer is missing, damaged, or not the table's.
        """
        ...


class Administrator(Protocol):
    """What a router needs of the registry when a client asks for a change."""

    async def change(self, change: Change) -> Changed:
        """Change what is served.

        Raises:
            GrowthRefused, ReloadRefused, UnknownKernel, IncompatibleKernels: The change cannot be
                made; what is served stays the same.
            ServiceUnavailable: The registry is restarting.
        """
        ...
