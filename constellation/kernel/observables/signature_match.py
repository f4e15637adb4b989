"""Compare two basin signatures: distance of their kernels, and differences of their statistics.

Shapes: K outcomes, N layers, H heads.
"""

import math
from dataclasses import asdict, dataclass
from typing import Literal

from constellation.errors import ConfigError
from constellation.geometry import angle, distance, has_bearing
from constellation.kernel.observables.measurement import Measurement
from constellation.kernel.observables.signature import Signature
from constellation.records import FloatArray

Verdict = Literal["indistinguishable", "overlapping", "apart"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SignatureMatch:
    """Differences between two signatures, the second minus the first."""

    distance: float
    """Fisher-Rao distance of the mean basins, radians."""
    std_error: float
    """Standard error of the distance of two samples with one mean, radians: sqrt(s^2 / n + s'^2 /
    n')."""
    spreads: tuple[float, float]
    """Root mean square distance of the texts' basins from their mean, radians."""
    bearing_angle: float | None
    """Angle between the bearings, radians; None where a basin lies on the background."""
    kappa_difference: float | None
    """Mean difference of learned couplings over heads; None without them or for other shapes."""
    beta_difference: float | None
    """Mean difference of slopes over heads; None without slopes or for other shapes."""
    kappa_measured_difference: float | None
    """Difference of measured couplings, nats; None where one was not measured."""
    phi_difference: float | None
    """Difference of Phi; None where one was not measured."""
    verdict: Verdict
    """indistinguishable: the distance is within two standard errors of 0; overlapping: it is less
    than the larger spread; apart: it is more than that."""
    notes: tuple[str, ...]
    """Limits of the comparison, in words."""

    def to_dict(self) -> dict[str, object]:
        """Return the fields and `words` as plain JSON values."""
        return {**asdict(self), "words": self.words}

    @property
    def words(self) -> str:
        """The verdict as a sentence."""
        meaning = {
            "indistinguishable": f"within two standard errors ({2 * self.std_error:.4f} rad) of 0",
            "overlapping": f"closer than the texts of one kernel lie ({max(self.spreads):.4f} rad)",
            "apart": f"farther than the texts of one kernel lie ({max(self.spreads):.4f} rad)",
        }[self.verdict]
        return f"{self.verdict}: the basins are {self.distance:.4f} rad apart, {meaning}"


def match_signatures(first: Signature, second: Signature) -> SignatureMatch:
    """Compare two signatures.

    Raises:
        ConfigError: They are of different coordizers, so that their outcomes mean different things.
    """
    if first.coordizer_hash != second.coordizer_hash:
        raise ConfigError(
            "the signatures are of different coordizers, whose outcomes mean different things; "
            "extract both with one coordizer"
        )
    apart = float(distance(first.basin_K, second.basin_K))
    spreads = (first.spread, second.spread)
    error = math.hypot(
        spreads[0] / math.sqrt(first.num_texts), spreads[1] / math.sqrt(second.num_texts)
    )
    return SignatureMatch(
        distance=apart,
        std_error=error,
        spreads=spreads,
        bearing_angle=_bearing_angle(first, second),
        kappa_difference=_mean_difference(first.kappa_NH, second.kappa_NH),
        beta_difference=_mean_difference(first.beta_NH, second.beta_NH),
        kappa_measured_difference=_difference(first.kappa_measured, second.kappa_measured),
        phi_difference=_difference(first.phi, second.phi),
        verdict=_verdict(apart, error, max(spreads)),
        notes=_notes(first, second),
    )


def _verdict(apart: float, error: float, spread: float) -> Verdict:
    if apart <= 2 * error:
        return "indistinguishable"
    return "overlapping" if apart <= spread else "apart"


def _bearing_angle(first: Signature, second: Signature) -> float | None:
    if not (has_bearing(first.bearing_K) and has_bearing(second.bearing_K)):
        return None
    return float(angle(first.bearing_K, second.bearing_K))


def _mean_difference(first_NH: FloatArray | None, second_NH: FloatArray | None) -> float | None:
    if first_NH is None or second_NH is None or first_NH.shape != second_NH.shape:
        return None
    return float((second_NH - first_NH).mean())


def _difference(first: Measurement, second: Measurement) -> float | None:
    if first.value is None or second.value is None:
        return None
    return second.value - first.value


def _notes(first: Signature, second: Signature) -> tuple[str, ...]:
    notes = []
    if first.basin_source != second.basin_source:
        notes.append("one basin is the kernel's own, the other its text's")
    elif first.basin_source == "coordizer":
        notes.append("the kernels have no basin head: these are the basins of the probe texts")
    if first.probe_id != second.probe_id:
        notes.append("the probe texts differ, so part of the distance is theirs")
    if first.kernel_hash == second.kernel_hash:
        notes.append("both are signatures of one kernel")
    return tuple(notes)
