"""Records as values that msgpack can hold: maps of their fields, with arrays as bytes.

A field's key is its name without the letters of its shape: `basin_K` is stored as "basin".
"""

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

import numpy as np

_SHAPE: Final = re.compile(r"_[A-Z]+$")


def packed(value: Any) -> Any:
    """Return a value for msgpack; the order of fields and keys is kept.

    Args:
        value: A record, an array (stored little-endian), a mapping or sequence of such values, or
            a plain value.
    """
    if is_dataclass(value):
        return {
            _SHAPE.sub("", each.name): packed(getattr(value, each.name)) for each in fields(value)
        }
    if isinstance(value, np.ndarray):
        return value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes()
    if isinstance(value, Mapping):
        return {str(key): packed(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [packed(each) for each in value]
    return value
