"""Check that numbers in the fields of a request lie in their range."""

from constellation.errors import InvalidRequest


def is_within(value: object, low: float, high: float, kind: type = float) -> bool:
    """Return whether a value is a number of type `kind` in [low, high]; False for NaN and bools."""
    numeric = (int,) if kind is int else (int, float)
    # Written so that NaN fails: every comparison with it is false.
    return not isinstance(value, bool) and isinstance(value, numeric) and low <= value <= high


def check_range(name: str, value: object, *, low: float, high: float, kind: type = float) -> None:
    """Raise `InvalidRequest` unless a field's value is a number of type `kind` in [low, high]."""
    if not is_within(value, low, high, kind):
        raise InvalidRequest(name, value, f"{kind.__name__} from {low:g} to {high:g}")
