"""Measure how evenly queries spread over kernels (models); low entropy reveals a collapse."""

from collections.abc import Mapping
from math import log

from constellation.errors import ConfigError


def load_entropy_ratio(counts: Mapping[str, int]) -> float | None:
    """Return the entropy of the kernels' load over its maximum; higher means more even.

        H / log M,   H = -sum_k s_k log s_k

    Args:
        counts: Kernel -> number of answered requests, >= 0, including kernels with 0.

    Returns:
        A number in [0, 1]: 1 when all kernels answer equally often, 0 when one kernel answers all
        requests. None without a request or with one kernel, where the ratio is undefined.

    Raises:
        ConfigError: A count is negative.
    """
    if any(count < 0 for count in counts.values()):
        raise ConfigError(f"counts must be >= 0, got {dict(counts)}")
    total = sum(counts.values())
    if total == 0 or len(counts) < 2:
        return None
    shares = [count / total for count in counts.values() if count]
    return min(1.0, max(0.0, -sum(share * log(share) for share in shares) / log(len(counts))))
