"""Measure how evenly routes spread over kernels: low entropy reveals collapse of routing."""

from collections.abc import Mapping
from math import log

from constellation.errors import ConfigError


def load_entropy_ratio(counts: Mapping[str, int]) -> float | None:
    """Return the entropy of the load over its greatest possible value.

        H / log M,   H = -sum_k s_k log s_k

    Args:
        counts: Kernel -> requests it answered, >= 0, kernels with 0 included.

    Returns:
        A number in [0, 1]: 1 when all kernels answer equally often, 0 when one answers all. None
        when nothing was answered or there is one kernel: then it says nothing.

    Raises:
        ConfigError: For a negative count.
    """
    if any(count < 0 for count in counts.values()):
        raise ConfigError(f"counts must be >= 0, got {dict(counts)}")
    total = sum(counts.values())
    if total == 0 or len(counts) < 2:
        return None
    shares = [count / total for count in counts.values() if count]
    return min(1.0, max(0.0, -sum(share * log(share) for share in shares) / log(len(counts))))
