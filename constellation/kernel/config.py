"""What a kernel is: its configuration, the presets, and the cost formulas that go with them.

The formulas are compared with counted values in `tests/kernel/test_config.py`. Imports no torch, so
that planning and command lines stay light; holds no weights.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, get_args

from constellation.errors import ConfigError

if TYPE_CHECKING:
    import torch

AttentionKind = Literal["dot", "qfi", "fisher_rao"]
ATTENTION_KINDS: Final[tuple[str, ...]] = get_args(AttentionKind)


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelConfig:
    """Shape and geometry of one decoder-only kernel."""

    vocab_size: int
    """Tokens of its coordizer."""

    width: int
    """Channels of the residual stream."""

    num_layers: int
    """Decoder blocks."""

    num_heads: int
    """Attention heads of each block; `width / num_heads` channels each, an even number."""

    mlp_width: int
    """Hidden channels of the SwiGLU MLP."""

    context: int
    """Most tokens the kernel reads at once."""

    attention: AttentionKind = "qfi"
    """Geometry of queries and keys: `dot` is the usual scaled product, the baseline."""

    running_coupling: bool = True
    """Whether kappa runs with the number of visible keys. `dot` has no kappa and ignores it."""

    coupling_start: float = 10.0
    """kappa of every head before training: the inverse temperature of cosines in [-1, 1]."""

    coupling_reference_length: int = 512
    """L_ref: the number of visible keys, in tokens, at which the running coupling equals kappa."""

    beta_frozen: float | None = None
    """Slope of the running coupling held at this value; None learns one per head from 0."""

    simplex_scale: float = 4.0
    """s of `fisher_rao`: channels are multiplied by it before the softmax. Others ignore it."""

    rotary_base: float = 10_000.0
    """Ratio of the slowest to the fastest rotary wavelength."""

    norm_epsilon: float = 1e-6
    """Added to the mean square inside every RMSNorm."""

    init_std: float = 0.02
    """Standard deviation of initial weights; residual outputs divide it by sqrt(2 num_layers)."""

    def __post_init__(self) -> None:
        _check_integers(self)
        _check_numbers(self)
        if self.attention not in ATTENTION_KINDS:
            raise ConfigError(f"attention is {self.attention!r}; allowed: {list(ATTENTION_KINDS)}")
        if self.width % (2 * self.num_heads):
            raise ConfigError(
                f"width {self.width} must be a multiple of twice num_heads {self.num_heads}: "
                "rotary positions turn pairs of channels"
            )
        if self.beta_frozen is not None and not self.running_coupling:
            raise ConfigError("beta_frozen needs running_coupling; leave it None")

    @property
    def head_dim(self) -> int:
        """Channels of one head."""
        return self.width // self.num_heads

    @property
    def has_coupling(self) -> bool:
        """Whether heads carry a learned kappa: all kinds but `dot`."""
        return self.attention != "dot"

    @property
    def learns_beta(self) -> bool:
        """Whether heads carry a learned beta."""
        return self.has_coupling and self.running_coupling and self.beta_frozen is None

    def num_parameters(self) -> int:
        """Return the number of learned numbers, the tied embedding counted once."""
        per_layer = self._matrix_weights_per_layer() + 2 * self.width
        couplings = self.num_layers * self.num_heads * (self.has_coupling + self.learns_beta)
        embedding = self.vocab_size * self.width
        return embedding + self.num_layers * per_layer + self.width + couplings

    def flops_per_token(self, length: int) -> int:
        """Return the forward matrix-product FLOPs of a token that sees `length` keys.

            2 (matrix weights + vocab_size width) + 4 num_layers length width

        A training step costs about three times as much per token (forward and two products of
        the backward pass). Norms, rotary positions and softmax are left out, as usual.

        Args:
            length: Visible keys, the token's own included, in 1..context.
        """
        matrices = self.num_layers * self._matrix_weights_per_layer()
        attention = 4 * self.num_layers * length * self.width
        return 2 * (matrices + self.vocab_size * self.width) + attention

    def kv_bytes_per_token(self, dtype: "torch.dtype") -> int:
        """Return the bytes that one token occupies in a KV cache of `dtype`."""
        return 2 * self.num_layers * self.width * dtype.itemsize

    def to_dict(self) -> dict[str, object]:
        """Return the fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> "KernelConfig":
        """Build a configuration from `to_dict`'s values.

        Raises:
            ConfigError: If a key is unknown or missing, or a value is of the wrong kind.
        """
        names = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - names):
            raise ConfigError(f"unknown kernel settings {unknown}; known: {sorted(names)}")
        try:
            return cls(**values)  # type: ignore[arg-type]  # __post_init__ checks every kind
        except TypeError as error:
            raise ConfigError(f"kernel settings are incomplete: {error}") from error

    def _matrix_weights_per_layer(self) -> int:
        """Return the weights of a block's matrices: q, k, v, output and the MLP's three."""
        return 4 * self.width**2 + 3 * self.width * self.mlp_width


def _check_integers(config: KernelConfig) -> None:
    names = ("vocab_size", "width", "num_layers", "num_heads", "mlp_width", "context")
    for name in (*names, "coupling_reference_length"):
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{name} is {value!r}; allowed: whole numbers from 1")
    if not isinstance(config.running_coupling, bool):
        raise ConfigError(f"running_coupling is {config.running_coupling!r}; allowed: true, false")


def _check_numbers(config: KernelConfig) -> None:
    for name in ("coupling_start", "simplex_scale", "rotary_base", "norm_epsilon", "init_std"):
        if not _is_finite(value := getattr(config, name)) or value <= 0:
            raise ConfigError(f"{name} is {value!r}; allowed: finite numbers above 0")
    if config.beta_frozen is not None and not _is_finite(config.beta_frozen):
        raise ConfigError(f"beta_frozen is {config.beta_frozen!r}; allowed: finite numbers or None")


def _is_finite(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)  # type: ignore[arg-type]  # narrowed just before


PRESETS: Final[Mapping[str, KernelConfig]] = MappingProxyType(
    {
        # 2.558 M parameters: trains in minutes on two CPU cores.
        "spark": KernelConfig(
            vocab_size=4096, width=192, num_layers=4, num_heads=4, mlp_width=512, context=256
        ),
        # 23.06 M parameters; the usual MLP width of 1,024 would give 26.45 M.
        "qig-23m": KernelConfig(
            vocab_size=32_000, width=384, num_layers=8, num_heads=8, mlp_width=656, context=512
        ),
    }
)
"""Named configurations; sizes are tested."""
