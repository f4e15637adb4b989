"""Statistics of a kernel: Phi, kappa, beta and signatures, each with sample size and null."""

from constellation.kernel.observables.kappa import kappa_learned, kappa_measured
from constellation.kernel.observables.measurement import Measurement
from constellation.kernel.observables.phi import (
    PHI_POSITIONS,
    PhiReference,
    phi_gauge,
    phi_integration,
)

__all__ = [
    "PHI_POSITIONS",
    "Measurement",
    "PhiReference",
    "kappa_learned",
    "kappa_measured",
    "phi_gauge",
    "phi_integration",
]
