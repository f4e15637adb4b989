"""The observables of a kernel in one place; each is defined in a file of its own."""

from constellation.kernel.kappa import kappa_learned, kappa_measured
from constellation.kernel.measurement import Measurement
from constellation.kernel.phi import PHI_POSITIONS, PhiReference, phi_gauge, phi_integration

__all__ = [
    "PHI_POSITIONS",
    "Measurement",
    "PhiReference",
    "kappa_learned",
    "kappa_measured",
    "phi_gauge",
    "phi_integration",
]
