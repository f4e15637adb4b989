"""Records of measured statistics: a value with its method, sample size, null and interval."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One measured statistic with its method, sample size, null value and 95 % interval."""

    value: float | None
    """Value of the statistic; None where it is undefined."""
    method: str
    """Description of how the value was computed."""
    n: int
    """Number of independent units behind the value: positions, texts or heads, as `method` says."""
    null: float | None
    """Value of the same statistic where the effect is absent by construction."""
    interval: tuple[float, float] | None
    """95 % interval of the value; None where no interval can be computed."""

    def to_dict(self) -> dict[str, object]:
        """Return the fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveCollectivePhi:
    """Collective Phi of one router's sampled prompts: gain of routing over the best kernel."""

    num_prompts: int
    """Number of prompts behind the values."""
    num_needed: int
    """Least number of prompts that gives a value."""
    phi_bits: float | None = None
    """Bits per byte of the best single kernel minus those of the routed constellation; above 0
    means that routing is better. None with too few prompts."""
    interval: tuple[float, float] | None = None
    """95 % interval of `phi_bits`."""
    random_routing_bits: float | None = None
    """Control: the same difference for a kernel drawn at random for each prompt."""
    uniform_ensemble_bits: float | None = None
    """Control: the same difference for the average of all kernels' probabilities."""
    best_kernel: str = ""
    """The single kernel with the fewest bits per byte on these prompts."""
