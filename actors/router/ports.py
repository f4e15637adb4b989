"""What a router needs of others: a reader of text, and somebody who can make changes."""

from typing import Protocol

from constellation.records import FloatArray, Grown, Reloaded, TokenArray, TokenInfluence


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


class Administrator(Protocol):
    """What a router needs of the registry when a client asks for a change."""

    async def reload(self) -> Reloaded:
        """Serve what training has written since.

        Raises:
            ReloadRefused: It does not fit what is served, which goes on unchanged.
            ServiceUnavailable: The registry is restarting.
        """
        ...

    async def add(self, name: str) -> Grown:
        """Take in a kernel whose folder and site lie in the artifacts.

        Raises:
            GrowthRefused: It does not fit; what is served goes on unchanged.
            IncompatibleKernels: It speaks another vocabulary.
            ServiceUnavailable: The registry is restarting.
        """
        ...

    async def spawn(self, parent: str, name: str, queries_NK: FloatArray) -> Grown:
        """Share a kernel's queries with a new one.

        Raises:
            UnknownKernel: There is no `parent`.
            GrowthRefused: It cannot be split, or the name is taken.
            ServiceUnavailable: The registry is restarting.
        """
        ...

    async def retire(self, name: str) -> Grown:
        """Let a kernel go.

        Raises:
            UnknownKernel: There is none of that name.
            GrowthRefused: It is the only one.
            ServiceUnavailable: The registry is restarting.
        """
        ...

    async def unlearn(self, name: str, source: str) -> Grown:
        """Let a kernel route as if it had never read a source of its training text.

        Raises:
            UnknownKernel: There is none of that name.
            GrowthRefused: The source does not count for it, or cannot be taken out.
            ServiceUnavailable: The registry is restarting.
        """
        ...
