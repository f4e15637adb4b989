"""Findings on samples: how often the router assigns a kernel's text to the kernel's domain."""

from training.report.facts import Json
from training.report.verdicts import Finding, share_interval, side

_NAMES = {"kernel": "kernels", "seed": "the seed", "untrained": "an untrained network"}


def sample_findings(samples: Json | None, num_kernels: int) -> list[Finding]:
    """Return one finding per writer.

    Args:
        samples: The content of `samples.json`.
        num_kernels: Kernels that the router chooses from; chance is one in so many.
    """
    rows = [] if samples is None or num_kernels < 2 else samples["samples"]
    at_home = [row for row in rows if row["kernel"] == row["domain"] and row["routed_to"]]
    found = []
    for writer, name in _NAMES.items():
        judged = [row for row in at_home if writer in row["routed_to"]]
        if judged:
            right = sum(row["routed_to"][writer] == row["domain"] for row in judged)
            found.append(_recognised(name, right, len(judged), 1 / num_kernels))
    return found


def _recognised(name: str, right: int, n: int, chance: float) -> Finding:
    interval = share_interval(right, n)
    verdict = {
        "above": "more often than chance",
        "below": "less often than chance",
    }.get(side(interval, chance), "no more often than chance shown")
    return Finding(
        name=f"samples by {name} routed to the prompt's domain",
        value=right / n,
        unit="share",
        interval=interval,
        null=chance,
        null_name="chance",
        n=n,
        n_unit="samples",
        verdict=verdict,
        sentence=f"The router, which sees no prompt, takes {right} of {n} samples by {name} for "
        f"text of the prompt's domain (95 % interval {interval[0]:.1%} to {interval[1]:.1%}, "
        f"chance {chance:.1%}): {verdict}.",
    )
