"""What a router needs of others: a reader of text, and somebody who can make changes."""

from typing import Protocol

from constellation.records import FloatArray, Reloaded, TokenArray, TokenInfluence


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

    def influences(self, ids: TokenArray, top: int = 5) -> tuple[TokenInfluence, ...]:
        """Return the tokens that moved the basin most."""
        ...


class Administrator(Protocol):
    """What a router needs of the registry when a client asks for a change."""

    async def reload(self) -> Reloaded:
        """Serve what training has written since.

        Raises:
            ReloadRefused: It does not fit what is served, which goes on unchanged.
            ServiceUnavailable: The registry is restarting.
        """
        ...
