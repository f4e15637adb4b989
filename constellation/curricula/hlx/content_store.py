"""A content-addressed store of HLX values: collapse, resolve, snapshot, transaction.

A value is stored under the BLAKE2b-256 hash of its LC-B bytes. The store lives in one process and
is not safe for several threads.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from constellation.curricula.hlx.latent_space_text import handle_tag
from constellation.curricula.hlx.lc_binary import decode, encode
from constellation.curricula.hlx.values import Handle, Value
from constellation.errors import HlxError

Result = TypeVar("Result")


def content_hash(data: bytes) -> str:
    """Return the BLAKE2b-256 hash of bytes as 64 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def handle_of(value: object) -> Handle:
    """Return the handle under which a value is stored; a handle is its own handle."""
    return value if isinstance(value, Handle) else _handle_of(encode(value))


def _handle_of(data: bytes) -> Handle:
    return Handle(f"&h_{handle_tag(decode(data))}_{content_hash(data)}")


@dataclass(frozen=True)
class Snapshot:
    """The contents of a store at one moment.

    Attributes:
        contents: Handle -> LC-B bytes; never changes.
        root: BLAKE2b-256 hash over the sorted handles.
    """

    contents: Mapping[Handle, bytes]
    root: str


class ContentStore:
    """Stores values under handles that follow from their contents."""

    def __init__(
        self,
        aliases: Mapping[str, Handle] | None = None,
        *,
        values_max: int = 100_000,
        bytes_max: int = 2**28,
    ) -> None:
        """Make an empty store.

        Args:
            aliases: Text of a symbolic handle, such as "&h_documents" -> stored handle.
            values_max: Most values that the store holds.
            bytes_max: Most bytes of LC-B that the store holds.
        """
        self._aliases = dict(aliases or {})
        self._values_max = values_max
        self._bytes_max = bytes_max
        self._contents: dict[Handle, bytes] = {}
        self._num_bytes = 0

    def __len__(self) -> int:
        return len(self._contents)

    def collapse(self, value: object) -> Handle:
        """Store a value and return its handle; a handle is returned as it is.

        Raises:
            HlxError: As for `encode`; E_SIZE_EXCEEDED if the store is full.
        """
        if isinstance(value, Handle):
            return value
        data = encode(value)
        handle = _handle_of(data)
        if handle not in self._contents:
            self._add(handle, data)
        return handle

    def _add(self, handle: Handle, data: bytes) -> None:
        if len(self._contents) >= self._values_max:
            raise HlxError("E_SIZE_EXCEEDED", f"at most {self._values_max} values in the store")
        if self._num_bytes + len(data) > self._bytes_max:
            raise HlxError("E_SIZE_EXCEEDED", f"at most {self._bytes_max} bytes in the store")
        self._contents[handle] = data
        self._num_bytes += len(data)

    def resolve(self, handle: Handle) -> Value:
        """Return the value that is stored under a handle or under its alias.

        Raises:
            HlxError: E_HANDLE_NOT_FOUND; E_LC_DECODE if the stored bytes have another hash.
        """
        stored = self._aliases.get(handle.text, handle)
        data = self._contents.get(stored)
        if data is None:
            raise HlxError("E_HANDLE_NOT_FOUND", f"a stored handle, not {handle.text:.100}")
        if content_hash(data) != stored.text[-64:]:
            raise HlxError("E_LC_DECODE", f"bytes with the hash that {stored.text} names")
        return decode(data)

    def snapshot(self) -> Snapshot:
        """Return the contents of this moment, which later changes leave alone."""
        handles = "\n".join(sorted(handle.text for handle in self._contents))
        return Snapshot(MappingProxyType(dict(self._contents)), content_hash(handles.encode()))

    def transaction(self, function: Callable[[], Result]) -> Result:
        """Return the result of `function`; if it raises, undo all changes that it made."""
        before, num_bytes = dict(self._contents), self._num_bytes
        finished = False
        try:
            result = function()
            finished = True
            return result
        finally:
            if not finished:
                self._contents, self._num_bytes = before, num_bytes
