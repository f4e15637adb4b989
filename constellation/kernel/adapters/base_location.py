"""Read or rewrite, in the bytes of an adapter's file, where its base lies; tensors stay unchanged.

The file is read and written as bytes, so that the same file gives the same bytes: the library that
writes such files puts the metadata of two equal files in different orders.
"""

import json
from typing import Any

from constellation.errors import ArtifactError

_LENGTH_BYTES = 8


def relocated(content: bytes, base: str, *, source: object) -> bytes:
    """Return an adapter's file whose metadata name another folder of its base.

    Args:
        content: All bytes of the file. Where it names this folder already, it is returned as it is.
        base: The folder, relative to the adapter's.
        source: Named in the message.

    Raises:
        ArtifactError: It is no file of an adapter.
    """
    header, end = _header(content, source)
    if header["__metadata__"]["base"] == base:
        return content
    header["__metadata__"]["base"] = base
    written = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    written += b" " * (-len(written) % _LENGTH_BYTES)  # tensors begin at a multiple of 8
    return len(written).to_bytes(_LENGTH_BYTES, "little") + written + content[end:]


def adapter_metadata(content: bytes, *, source: object) -> dict[str, Any]:
    """Return what an adapter's file, given as bytes, says of itself, its `base` among it.

    Raises:
        ArtifactError: The content is no file of an adapter.
    """
    return dict(_header(content, source)[0]["__metadata__"])


def _header(content: bytes, source: object) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file, and where the tensors begin."""
    end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    try:
        header = json.loads(content[_LENGTH_BYTES:end])
        if isinstance(header["__metadata__"]["base"], str):
            return dict(header), end
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(source, f"it cannot be read as an adapter: {error!r}") from error
    raise ArtifactError(source, "its metadata do not say where its base lies")
