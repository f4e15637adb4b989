"""Canonical msgpack files with a digest: equal values give equal bytes, damage is detected.

    {"schema": number, "sha256": digest of content, "content": msgpack of the value}

Keys are sorted and numbers keep their type, so every value has exactly one valid form, and reading
refuses all other forms. The functions do not interpret the values.
"""

import hashlib
from collections.abc import Mapping
from math import isfinite
from typing import TypeAlias

import msgpack

from constellation.errors import ArtifactError, ConfigError

Plain: TypeAlias = "bool | int | float | str | bytes | tuple[Plain, ...] | dict[str, Plain] | None"

_DEPTH_MAX = 16
"""Largest depth of nested values."""
_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**64 - 1
"""Range of integers in msgpack; a recipe's seed may be the largest."""


def plain(value: object, name: str, *, depth: int = 0) -> Plain:
    """Convert a value to the form that can be packed: lists to tuples, mappings with sorted keys.

    Args:
        value: None, a bool, an integer of 64 bits, a finite float, text, bytes, or a sequence or
            mapping of such values, nested at most 16 deep.
        name: Name of the value in error messages.
        depth: Number of values that contain this value.

    Raises:
        ConfigError: The value has another type, is out of range or too deeply nested.
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
    """Return the only packed form of a value that `plain` returned."""
    return bytes(msgpack.packb(value))


def seal(value: Plain, *, schema: int) -> bytes:
    """Return the bytes of a file with a value, its schema and its digest."""
    content = pack_plain(value)
    digest = hashlib.sha256(content).digest()
    return bytes(msgpack.packb({"schema": schema, "sha256": digest, "content": content}))


def unseal(data: bytes, *, schema: int, bytes_max: int, source: object) -> Plain:
    """Return the value in the bytes of a file that `seal` made.

    Args:
        data: All bytes of the file.
        schema: Required schema.
        bytes_max: Largest accepted size; a larger file is refused without unpacking it.
        source: Name of the file in error messages.

    Raises:
        ArtifactError: The bytes are too many, of another schema or damaged.
    """
    if len(data) > bytes_max:
        raise ArtifactError(source, f"has {len(data)} bytes; at most {bytes_max} are allowed")
    try:
        envelope = msgpack.unpackb(data)
        if envelope.keys() != {"schema", "sha256", "content"}:
            raise ArtifactError(source, "is damaged: it lacks schema, sha256 and content")
        if envelope["schema"] != schema:
            raise ArtifactError(
                source, f"has schema {envelope['schema']!r}; this version reads {schema}"
            )
        value = plain(msgpack.unpackb(envelope["content"], use_list=False), "content")
        # Detects any other changed byte: a wrong digest, another type, another order of keys.
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
    return str(value)  # converts a member of a string enumeration to its value


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
