"""Array helpers that work for numpy and torch: array namespace, safe square root, norm, ratios.

Every function of `constellation.geometry` is written once against the Python array API and runs on
numpy arrays and torch tensors, so both give the same results by construction. torch is never
imported here: a caller that passes a tensor has imported torch.

Works in float32 and float64. Half types are refused by `check_simplex`: `FLOOR` underflows there.
"""

from typing import Any, TypeVar

import array_api_compat
import numpy as np

ArrayT = TypeVar("ArrayT", bound=Any)
"""A numpy array or a torch tensor; a function returns the same type that it is given."""

FLOOR = 1e-30
"""Added under a square root so that its gradient is finite at 0; a root changes by at most
1e-15."""

_SERIES_BELOW = 1e-2
"""|x| below which sin(x)/x and asin(x)/x are computed by series; the next term is 1e-16
relative."""


def namespace(*arrays: Any) -> Any:
    """Return the array API namespace shared by `arrays`.

    Raises:
        TypeError: The arrays are of different libraries, or an argument is not an array.
    """
    if all(isinstance(array, np.ndarray | np.generic) for array in arrays):
        # numpy 2 implements the array API itself. The wrapper for older versions takes 8 MB per
        # process, and the general lookup 3 us, more than a small sum.
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
