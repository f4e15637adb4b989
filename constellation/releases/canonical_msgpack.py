"""Plain values as bytes: equal values have equal bytes, and a damaged byte is noticed.

    {"schema": number, "sha256": digest of content, "content": msgpack of the value}

Keys are sorted and numbers keep their type, so a file has one right form, and reading refuses all
others. It knows nothing of what the values mean.
"""

import hashlib
from collections.abc import Mapping
from math import isfinite
from typing import TypeAlias

import msgpack

from constellation.errors import ArtifactError, ConfigError

Plain: TypeAlias = "bool | int | float | str | bytes | tuple[Plain, ...] | dict[str, Plain] | None"

_DEPTH_MAX = 16
"""Values within values."""
_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**64 - 1
"""As msgpack has them; the seed of a recipe may be the largest."""


def plain(value: object, name: str, *, depth: int = 0) -> Plain:
    """Return a value as one that is packed: lists as tuples, mappings with sorted keys.

    Args:
        value: None, a bool, an integer of 64 bits, a finite float, text, bytes, or a sequence or
            mapping of such values, nested at most 16 deep.
        name: What the value stands for, for the message.
        depth: Of the value within others.

    Raises:
        ConfigError: It is something else.
    """
    if depth > _DEPTH_MAX:
        raise ConfigError(f"{name} is nested deeper than {_DEPTH_MAX}; make it flatter")
    if value is None or isinstance(value, bool | bytes):
        return value
    if isinstance(value, str):
        return _text(value, name)
    if isinstance(value, int | float):
        return _number(value, name)
    if isinstance(value, tuple | list):
        return tuple(plain(each, f"{name}[{i}]", depth=depth + 1) for i, each in enumerate(value))
    if isinstance(value, Mapping):
        return {
            _key(key, name): plain(value[key], f"{name}.{key}", depth=depth + 1)
            for key in sorted(value, key=lambda key: _key(key, name))
        }
    raise ConfigError(
        f"{name} is a {type(value).__name__}; give None, a bool, a number, text, bytes, or a "
        "sequence or mapping of those"
    )


def pack_plain(value: Plain) -> bytes:
    """Return the one form in bytes of a value that `plain` returned."""
    return bytes(msgpack.packb(value))


def seal(value: Plain, *, schema: int) -> bytes:
    """Return a value as a file's bytes, with its schema and digest."""
    content = pack_plain(value)
    digest = hashlib.sha256(content).digest()
    return bytes(msgpack.packb({"schema": schema, "sha256": digest, "content": content}))


def unseal(data: bytes, *, schema: int, bytes_max: int, source: object) -> Plain:
    """Return the value that `seal` made these bytes of.

    Args:
        data: All bytes of the file.
        schema: The one that is read.
        bytes_max: Longer files are refused before they are read.
        source: Named in the message.

    Raises:
        ArtifactError: The bytes are too many, of another schema or damaged.
    """
    if len(data) > bytes_max:
        raise ArtifactError(source, f"has {len(data)} bytes, and at most {bytes_max} are read")
    try:
        envelope = msgpack.unpackb(data)
        if envelope.keys() != {"schema", "sha256", "content"}:
            raise ArtifactError(source, "is damaged: it lacks schema, sha256 and content")
        if envelope["schema"] != schema:
            raise ArtifactError(
                source, f"has schema {envelope['schema']!r}; this release reads {schema}"
            )
        value = plain(msgpack.unpackb(envelope["content"], use_list=False), "content")
        # All else that a changed byte can do: a wrong digest, another type, another order.
        if seal(value, schema=schema) != data:
            raise ArtifactError(source, "is damaged: its digest does not fit its content")
    except (ValueError, TypeError, AttributeError, ConfigError, msgpack.UnpackException) as error:
        raise ArtifactError(source, f"is damaged or of another kind: {error!r}") from error
    return value


def _text(value: str, name: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{name} holds half a character (a lone surrogate)") from error
    return str(value)  # of an enumeration, the value


def _number(value: float, name: str) -> int | float:
    if isinstance(value, int):
        if not _INTEGER_MIN <= value <= _INTEGER_MAX:
            raise ConfigError(f"{name} is {value}; integers have at most 64 bits")
        return int(value)
    if not isfinite(value):
        raise ConfigError(f"{name} is {value}; numbers must be finite")
    return float(value)


def _key(key: object, name: str) -> str:
    if not isinstance(key, str):
        raise ConfigError(f"{name} has the key {key!r}; keys must be text")
    return _text(key, name)
