"""LC-B, the binary form of HLX-1: encode, decode, and comparison of values by their bytes.

A value has exactly one byte string, and `encode(decode(data)) == data` for all accepted data.
"""

from constellation.curricula.hlx.lc_binary_decoder import decode
from constellation.curricula.hlx.lc_binary_encoder import encode
from constellation.curricula.hlx.values import Value

__all__ = ["canonical", "decode", "encode", "same_value"]


def canonical(value: object) -> Value:
    """Return the value of the model that `value` denotes: sorted, in NFC, with tuples.

    Raises:
        HlxError: As for `encode`.
    """
    return decode(encode(value))


def same_value(one: object, other: object) -> bool:
    """Say whether two objects are one HLX value, which 1, 1.0 and True are not."""
    return encode(one) == encode(other)
