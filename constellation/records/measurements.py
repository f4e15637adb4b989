"""Records of measured statistics."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One measured statistic."""

    value: float | None
    """The statistic; None where it is undefined."""
    method: str
    """How it was computed, in words."""
    n: int
    """Independent units behind it: positions, texts or heads, as the method says."""
    null: float | None
    """The same statistic where the effect is absent by construction."""
    interval: tuple[float, float] | None
    """95 % interval of the value; None where it cannot be given."""

    def to_dict(self) -> dict[str, object]:
        """Return the fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveCollectivePhi:
    """Collective Phi of the prompts that one router sampled; differences in bits per byte."""

    num_prompts: int
    """Prompts behind it."""
    num_needed: int
    """Fewer of them give no value."""
    phi_bits: float | None = None
    """Best single kernel minus the routed constellation; None with too few prompts."""
    interval: tuple[float, float] | None = None
    """Its 95 % interval."""
    random_routing_bits: float | None = None
    """Control: best single kernel minus one drawn at random for each prompt."""
    uniform_ensemble_bits: float | None = None
    """Control: best single kernel minus the average of all kernels' probabilities."""
    best_kernel: str = ""
    """The single kernel that is best on these prompts."""
