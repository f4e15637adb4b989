"""One implementation for numpy and torch: the namespace of an array and a few safe functions.

Every function of `constellation.geometry` is written once against the Python array API and runs on
whatever it is given, so numpy and torch agree by construction. torch is never imported here: an
array that is a tensor proves that its caller did so.

Works in float32 and float64. Half types are refused by `check_simplex`: `FLOOR` underflows there.
"""

from typing import Any, TypeVar

import array_api_compat
import numpy as np

ArrayT = TypeVar("ArrayT", bound=Any)
"""A numpy array or a torch tensor; the result is of the same kind."""

FLOOR = 1e-30
"""Added below a square root so that its gradient is finite at 0; a root moves by 1e-15 at most."""

_SERIES_BELOW = 1e-2
"""Where sin(x)/x and asin(x)/x change to their series: next term is 1e-16 relative there."""


def namespace(*arrays: Any) -> Any:
    """Return the array API namespace shared by `arrays`.

    Raises:
        TypeError: For arrays of different libraries or things that are no arrays.
    """
    if all(isinstance(array, np.ndarray | np.generic) for array in arrays):
        # numpy 2 speaks the standard itself; the wrapper for older ones takes 8 MB a process, and
        # the general way 3 us, more than small sums do.
        return np
    return array_api_compat.array_namespace(*arrays)


def square_root(p_K: ArrayT) -> ArrayT:
    """Return sqrt(p) with a finite gradient at p = 0.

        p / sqrt(p + 1e-30)

    Args:
        p_K: Values >= 0, any shape.

    Returns:
        Same shape; exactly 0 at 0, within 1e-15 of sqrt(p) everywhere.
    """
    root: ArrayT = p_K / namespace(p_K).sqrt(p_K + FLOOR)
    return root


def norm(v_K: ArrayT) -> ArrayT:
    """Return the Euclidean norm over the last axis, with gradient 0 at the zero vector."""
    length: ArrayT = namespace(v_K).linalg.vector_norm(v_K, axis=-1)
    return length


def sine_ratio(x: ArrayT) -> ArrayT:
    """Return sin(x)/x, exactly 1 at 0, smooth to first order for automatic differentiation."""
    xp = namespace(x)
    small = xp.abs(x) < _SERIES_BELOW
    safe = xp.where(small, xp.ones_like(x), x)
    square = x * x
    series = 1 - square / 6 * (1 - square / 20 * (1 - square / 42))
    ratio: ArrayT = xp.where(small, series, xp.sin(safe) / safe)
    return ratio


def arcsine_ratio(x: ArrayT) -> ArrayT:
    """Return asin(x)/x, exactly 1 at 0, smooth to first order, for |x| <= 1."""
    xp = namespace(x)
    small = xp.abs(x) < _SERIES_BELOW
    safe = xp.where(small, xp.full_like(x, 0.5), x)
    square = x * x
    series = 1 + square / 6 * (1 + square * 9 / 20 * (1 + square * 25 / 42))
    ratio: ArrayT = xp.where(small, series, xp.asin(safe) / safe)
    return ratio
