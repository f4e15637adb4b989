"""The result of a beta measurement: numbers as JSON, and a conclusion in words.

The words follow from the numbers alone. The expected value and the bands around it were stated
before any measurement; a beta outside them, or an undefined one, is a result like any other.
"""

from dataclasses import dataclass
from typing import Final

from constellation.kernel.observables.beta_fit import BetaFit

BETA_EXPECTED: Final = 0.44
"""Value that a measured beta is compared with."""

WITHIN: Final = (0.1, 0.2)
"""Distances from the expected value within which a beta counts as near, the narrower first."""

BEYOND: Final = 0.3
"""Distance from the expected value from which a beta counts as beyond it; between the last of
`WITHIN` and this distance the result is inconclusive."""

_METHOD: Final = (
    "ln(keys) - entropy of attention, mean over heads and the last 5 % of queries; least squares "
    "in ln(length) through each passage; Fieller's interval, standard errors by bootstrap over "
    "passages"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class BetaMeasurement:
    """The couplings of one kernel at several lengths, and the lines fitted to them."""

    context_lengths: tuple[int, ...]
    """Measured context lengths in tokens, rising."""
    trained_context: int
    """Context length of training in tokens; longer lengths are extrapolated."""
    kappa_measured: tuple[float, ...]
    """Mean coupling over heads, queries and passages at each length, nats."""
    kappa_ci95: tuple[tuple[float, float], ...]
    """Student's 95 % intervals of `kappa_measured` over passages."""
    kappa_shuffled: tuple[float, ...]
    """Mean coupling for the passages' tokens in random order: coupling that needs no text."""
    fit: BetaFit
    """Line through the couplings at all lengths."""
    fit_trained: BetaFit | None
    """Line through the lengths within the trained context; None where that is all or fewer than
    2."""
    fit_shuffled: BetaFit
    """The null: line through the couplings of shuffled tokens."""
    other_references: tuple[BetaFit, ...]
    """`fit` relative to other reference lengths, since beta depends on that choice."""
    num_passages: int
    """Independent passages, each measured at every length."""

    @property
    def extrapolated(self) -> tuple[bool, ...]:
        """Whether each length is beyond the trained context."""
        return tuple(length > self.trained_context for length in self.context_lengths)

    @property
    def conclusion(self) -> str:
        """Band of beta around the expected value, "inconclusive" or "undefined"."""
        return conclude(self.fit.value)

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON values, as `beta_measurement.json` holds them."""
        fit = self.fit.to_dict()
        return {
            "context_lengths": list(self.context_lengths),
            "trained_context": self.trained_context,
            "extrapolated": list(self.extrapolated),
            "kappa_measured": list(self.kappa_measured),
            "kappa_ci95": [list(interval) for interval in self.kappa_ci95],
            "kappa_shuffled": list(self.kappa_shuffled),
            "beta_fit": _beta(self.fit),
            "kappa_0": fit["kappa_0"],
            "raw_slope": fit["slope"],
            "reference_length": self.fit.reference_length,
            "beta_fit_trained": None if self.fit_trained is None else _beta(self.fit_trained),
            "beta_fit_shuffled": _beta(self.fit_shuffled),
            "other_reference_lengths": {
                str(other.reference_length): {"value": other.value, "ci95": other.ci95}
                for other in self.other_references
            },
            "expected": BETA_EXPECTED,
            "conclusion": self.conclusion,
            "conclusion_words": in_words(self),
            "n": self.num_passages,
            "method": _METHOD,
        }


def conclude(beta: float | None) -> str:
    """Return how far a measured beta is from the expected value, by the stated bands."""
    if beta is None:
        return "undefined"
    away = abs(beta - BETA_EXPECTED)
    for limit in WITHIN:
        if away <= limit:
            return f"within {limit}"
    return f"beyond {BEYOND}" if away > BEYOND else "inconclusive"


def in_words(measured: BetaMeasurement) -> str:
    """Return the result as a few sentences that follow from the numbers alone."""
    fit = measured.fit
    if fit.value is None or fit.ci95 is None:
        said = _undefined(fit)
    else:
        said = _defined(fit.value, *fit.ci95)
    return " ".join(filter(None, (said, _null(measured), _extrapolation(measured))))


def _undefined(fit: BetaFit) -> str:
    low, high = fit.slope.ci95
    least, most = fit.kappa_0.ci95
    return (
        f"beta undefined: the coupling at {fit.reference_length} tokens does not differ "
        f"significantly from 0 ({least:.4f} to {most:.4f} nats); raw slope "
        f"{fit.slope.value:+.4f} nats per unit of ln(length) ({low:+.4f} to {high:+.4f})."
    )


def _defined(beta: float, low: float, high: float) -> str:
    band = conclude(beta)
    where = {
        "inconclusive": f"{WITHIN[-1]} to {BEYOND} away from {BETA_EXPECTED}: inconclusive",
        f"beyond {BEYOND}": f"more than {BEYOND} away from {BETA_EXPECTED}",
    }.get(band, f"{band} of {BETA_EXPECTED}")
    doubt = "" if _supported(band, low, high) else ", which its interval does not support"
    zero = "inside" if low <= 0 <= high else "outside"
    return (
        f"beta is {beta:+.3f} ({low:+.3f} to {high:+.3f}, 95 %), {where}{doubt}; 0 lies {zero} "
        "the interval."
    )


def _supported(band: str, low: float, high: float) -> bool:
    """Return whether the whole interval lies in the conclusion's band."""
    for limit in WITHIN:
        if band == f"within {limit}":
            return BETA_EXPECTED - limit <= low and high <= BETA_EXPECTED + limit
    if band == "inconclusive":
        return True  # nothing is claimed
    return high < BETA_EXPECTED - BEYOND or low > BETA_EXPECTED + BEYOND


def _null(measured: BetaMeasurement) -> str:
    """Return a sentence on the couplings of shuffled tokens, and what follows."""
    found, null = measured.fit.ci95, measured.fit_shuffled
    if found is None or null.value is None or null.ci95 is None:
        return ""
    low, high = null.ci95
    apart = found[0] > high or found[1] < low
    meaning = "a difference that the text makes" if apart else "no difference by the text is shown"
    return f"Tokens in random order give {null.value:+.3f} ({low:+.3f} to {high:+.3f}): {meaning}."


def _extrapolation(measured: BetaMeasurement) -> str:
    beyond, total = sum(measured.extrapolated), len(measured.extrapolated)
    if not beyond:
        return ""
    which = f"All {total}" if beyond == total else f"{beyond} of {total}"
    return (
        f"{which} lengths lie beyond the trained context of {measured.trained_context} tokens and "
        "are extrapolated."
    )


def _beta(fit: BetaFit) -> dict[str, object]:
    names = ("value", "std_error", "r_squared", "p_value", "ci95")
    return {name: value for name, value in fit.to_dict().items() if name in names}
