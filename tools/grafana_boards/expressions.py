"""PromQL that several panels share, and the limits at which panels turn red.

A rate is taken over `$__rate_interval`, which Grafana replaces by at least four scrapes. Samples of
several routers or nodes are added, because each router counts its own requests only.
"""

from typing import Final

KERNEL: Final = 'kernel=~"$kernel"'
NODE: Final = 'node=~"$node"'
WINDOW: Final = "[$__rate_interval]"
FAILED: Final = "DeadlineExceeded|InternalError|KernelUnavailable|ServiceUnavailable"
"""Outcomes of requests that the constellation should have answered."""

FAILED_SHARE: Final = 0.01
"""Share of requests that may fail; no alert, since an alert watches each cause of failures."""
FIRST_TEXT_S: Final = 1.0
"""Seconds within which the first text of a streamed answer should arrive."""
IN_TIME_SHARE: Final = 0.99
"""Share of the streamed answers whose first text should arrive in time: the objective."""
BURNING_SHARE: Final = 14.4 * (1 - IN_TIME_SHARE)
"""Share of late answers at which the alert ConstellationFirstTokenBudgetBurnsFast fires."""
OUT_OF_DOMAIN_SHARE: Final = 0.2
"""Limit of the alert ConstellationOutOfDomainShareHigh."""
ENTROPY_RATIO: Final = 0.1
"""Limit of the alert ConstellationRouteCollapse."""
QUEUE_SHARE: Final = 0.8
"""Limit of the alerts ConstellationQueueFull and ConstellationRouterFull."""
DISK_SHARE: Final = 0.05
"""Limit of the alert ConstellationDiskNearlyFull."""
RESTARTS: Final = 2.5
"""Limit of the alert ConstellationRestartLoop: three restarts, as `increase` measures them."""

OUT_OF_DOMAIN: Final = "constellation:out_of_domain:ratio10m"
ENTROPY: Final = "constellation:route_entropy:ratio10m"
"""Recorded by cluster/prometheus/recording.yml, as the alerts read them."""


def rate(metric: str, *labels: str, by: str = "") -> str:
    """Return the PromQL of a counter's growth per second, added over all series.

    Args:
        metric: Name of the counter.
        labels: Conditions on labels, such as `kernel=~"$kernel"`.
        by: Labels that are kept, separated by commas.
    """
    return f"{_sum(by)} (rate({metric}{{{', '.join(labels)}}}{WINDOW}))".replace("{}", "")


def increase(metric: str, window: str, *labels: str, by: str = "") -> str:
    """Return the PromQL of a counter's growth within `window`, added over all series."""
    return f"{_sum(by)} (increase({metric}{{{', '.join(labels)}}}[{window}]))".replace("{}", "")


def quantile(share: float, metric: str, *labels: str, by: str = "") -> str:
    """Return the PromQL of the value below which `share` of a histogram's observations lie."""
    kept = f"{by}, le" if by else "le"
    return f"histogram_quantile({share:g}, {rate(f'{metric}_bucket', *labels, by=kept)})"


def mean(metric: str, *labels: str, by: str = "") -> str:
    """Return the PromQL of the mean of a histogram's or summary's latest observations."""
    return f"{rate(f'{metric}_sum', *labels, by=by)} / {rate(f'{metric}_count', *labels, by=by)}"


def share_or_zero(part: str, whole: str) -> str:
    """Return the PromQL of `part` / `whole`, or 0 while nothing was counted."""
    return f"({part}) / ({whole} > 0) or vector(0)"


def since_start(metric: str, *labels: str) -> str:
    """Return the PromQL of what a counter counted since its process started, or 0.

    `increase` misses the first event of a counter that appears with this event.
    """
    return f"sum({metric}{{{', '.join(labels)}}}) or vector(0)".replace("{}", "")


def for_each_kernel(expression: str) -> str:
    """Return the PromQL of `expression`, and 0 for kernels that `expression` says nothing about."""
    return f"{expression} or 0 * max by (kernel) (constellation_kernel_up{{{KERNEL}}})"


def share_per_kernel(metric: str, *labels: str) -> str:
    """Return the PromQL of each kernel's share of a counter's growth."""
    parts, whole = rate(metric, *labels, by="kernel"), rate(metric)
    return f"{parts} / ignoring (kernel) group_left () {whole}"


def _sum(by: str) -> str:
    return f"sum by ({by})" if by else "sum"
