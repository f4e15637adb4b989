"""Configuration of a kernel's network: sizes and geometry, presets, and cost formulas.

The formulas are compared with counted values in `tests/kernel/test_config.py`. Imports no torch, so
that planning and command lines stay light; holds no weights.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from constellation.errors import ConfigError

if TYPE_CHECKING:
    import torch

AttentionKind = Literal["dot", "qfi", "fisher_rao"]
ATTENTION_KINDS: Final[tuple[str, ...]] = get_args(AttentionKind)

Style = Literal["modern", "post_norm"]
STYLES: Final[tuple[str, ...]] = get_args(Style)

LOOPS_LEAST: Final = 3
"""Fewest passes of a recurrent layer; with fewer there are no two steps to compare."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelConfig:
    """Shape and geometry of one decoder-only kernel."""

    vocab_size: int
    """Number of tokens in the kernel's vocabulary."""

    width: int
    """Number of channels of the residual stream."""

    num_layers: int
    """Number of decoder blocks; a block whose weights are used several times counts once."""

    num_heads: int
    """Attention heads of each block; `width / num_heads` channels each, an even number."""

    mlp_width: int
    """Number of hidden channels of the MLP."""

    context: int
    """Largest number of tokens that the kernel reads at once."""

    style: Style = "modern"
    """`modern`: pre-norm RMSNorm, rotary positions, SwiGLU, tied embedding, no biases. `post_norm`:
    LayerNorm after each sum and none at the end, learned positions, a GELU MLP of two matrices, a
    head of its own, biases everywhere."""

    attention: AttentionKind = "qfi"
    """Geometry of queries and keys: `dot` is the usual scaled product, the baseline."""

    running_coupling: bool = True
    """Whether kappa changes with the number of visible keys. `dot` has no kappa and ignores it."""

    coupling_start: float = 10.0
    """kappa of every head before training: the inverse temperature of cosines in [-1, 1]."""

    coupling_reference_length: int = 512
    """L_ref: the number of visible keys, in tokens, at which the running coupling equals kappa."""

    beta_frozen: float | None = None
    """Fixed slope of the coupling with length; None learns one slope per head, starting at 0."""

    simplex_scale: float = 4.0
    """s of `fisher_rao`: channels are multiplied by it before the softmax. Others ignore it."""

    recurrent_layers: tuple[int, ...] = ()
    """Layers, counted from 0 and rising, that are passed several times with the same weights."""

    loops_min: int = LOOPS_LEAST
    """Fewest passes of a recurrent layer, at least 3."""

    loops_max: int = LOOPS_LEAST
    """Most passes of a recurrent layer; without `depth_threshold`, the passes of every token."""

    depth_threshold: float | None = None
    """Radians: a token stops looping when a pass moves its next-token distribution by less than
    this Fisher-Rao distance. None fixes the depth."""

    basin_outcomes: int | None = None
    """Number of outcomes of the basin head, equal to the coordizer's; None leaves the head out."""

    frozen_input: bool = False
    """Whether tokens are read through a table that is not trained, such as one of another model;
    the embedding is then the output matrix only. For `modern`."""

    rotary_base: float = 10_000.0
    """Ratio of the slowest to the fastest rotary wavelength. `post_norm` ignores it."""

    norm_epsilon: float = 1e-6
    """Added to the mean square (`modern`) or the variance (`post_norm`) inside every norm."""

    init_std: float = 0.02
    """Standard deviation of initial weights; residual outputs divide it by the root of the number
    of sums into the residual stream (two a pass)."""

    def __post_init__(self) -> None:
        _check_integers(self)
        _check_numbers(self)
        _check_choices(self)
        _check_recursion(self)
        if self.width % (2 * self.num_heads):
            raise ConfigError(
                f"width {self.width} must be a multiple of twice num_heads {self.num_heads}: "
                "rotary positions turn pairs of channels"
            )
        if self.beta_frozen is not None and not self.running_coupling:
            raise ConfigError("beta_frozen needs running_coupling; leave it None")
        if self.frozen_input and not self.is_modern:
            raise ConfigError("frozen_input needs the style modern, whose embedding makes logits")

    @property
    def head_dim(self) -> int:
        """Channels of one head."""
        return self.width // self.num_heads

    @property
    def is_modern(self) -> bool:
        """Whether the style is `modern`; if not it is `post_norm`."""
        return self.style == "modern"

    @property
    def has_coupling(self) -> bool:
        """Whether heads have a learned kappa: all kinds but `dot`."""
        return self.attention != "dot"

    @property
    def learns_beta(self) -> bool:
        """Whether heads have a learned beta."""
        return self.has_coupling and self.running_coupling and self.beta_frozen is None

    @property
    def has_adaptive_depth(self) -> bool:
        """Whether each token's number of passes through a recurrent layer depends on the token."""
        return self.depth_threshold is not None

    def loops_of(self, layer: int) -> int:
        """Return the largest number of passes through a layer: 1, or `loops_max` if it recurs."""
        return self.loops_max if layer in self.recurrent_layers else 1

    def num_passes(self, loops: int | None = None) -> int:
        """Return a token's block passes when recurrent layers make `loops`; None takes the most."""
        loops = self.loops_max if loops is None else loops
        return self.num_layers + len(self.recurrent_layers) * (loops - 1)

    def num_parameters(self) -> int:
        """Return the number of trained numbers; shared ones (embedding, passes) count once."""
        couplings = self.num_layers * self.num_heads * (self.has_coupling + self.learns_beta)
        gates = len(self.recurrent_layers) * (self.width + 1)
        basin_head = (self.basin_outcomes or 0) * self.width
        blocks = self.num_layers * (self._matrix_weights_per_layer() + self._vectors_per_layer())
        return self._outer_parameters() + blocks + couplings + gates + basin_head

    def flops_per_token(self, length: int, *, loops: int | None = None) -> int:
        """Return the forward matrix-product FLOPs of a token that sees `length` keys.

            2 (passes matrix weights + vocab_size width) + 4 passes length width

        and with adaptive depth two readouts of the vocabulary for each decision, and the keys and
        values that a token leaves behind for the passes it does not make. A training step costs
        about three times as much per token (forward and two products of the backward pass). Norms,
        gates, positions, softmax and the basin head, which reads one mean per text, are left out.

        Args:
            length: Visible keys, the token's own included, in 1..context.
            loops: Passes of the token through each recurrent layer, in loops_min..loops_max; None
                means loops_max.
        """
        loops = self.loops_max if loops is None else loops
        passes = self.num_passes(loops)
        readout = 2 * self.vocab_size * self.width
        matrices = 2 * passes * self._matrix_weights_per_layer()
        attention = 4 * passes * length * self.width
        return matrices + attention + readout + self._flops_of_deciding(loops, readout)

    def kv_bytes_per_token(self, dtype: "torch.dtype") -> int:
        """Return the bytes that one token occupies in a KV cache of `dtype`."""
        return 2 * self.num_passes() * self.width * dtype.itemsize

    def to_dict(self) -> dict[str, object]:
        """Return the fields as plain JSON values."""
        return asdict(self) | {"recurrent_layers": list(self.recurrent_layers)}

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> "KernelConfig":
        """Build a configuration from `to_dict`'s values; keys left out take their defaults.

        Raises:
            ConfigError: If a key is unknown or missing, or a value is of the wrong kind.
        """
        names = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - names):
            raise ConfigError(f"unknown kernel settings {unknown}; known: {sorted(names)}")
        layers = values.get("recurrent_layers")
        frozen = {"recurrent_layers": tuple(layers)} if isinstance(layers, list) else {}
        try:
            return cls(**{**values, **frozen})  # type: ignore[arg-type]  # __post_init__ checks
        except TypeError as error:
            raise ConfigError(f"kernel settings are incomplete: {error}") from error

    def _matrix_weights_per_layer(self) -> int:
        """Return the weights of a block's matrices: q, k, v, output and the MLP's three or two."""
        return 4 * self.width**2 + (3 if self.is_modern else 2) * self.width * self.mlp_width

    def _vectors_per_layer(self) -> int:
        """Return a block's norm weights and biases."""
        if self.is_modern:
            return 2 * self.width
        biases = 3 * self.width + self.width + self.mlp_width + self.width
        return biases + 2 * (2 * self.width)

    def _outer_parameters(self) -> int:
        """Return the parameters outside the blocks: embedding, positions, last norm, head."""
        embedding = self.vocab_size * self.width
        if self.is_modern:
            return embedding + self.width
        head = self.vocab_size * self.width + self.vocab_size
        return embedding + self.context * self.width + head

    def _flops_of_deciding(self, loops: int, readout: int) -> int:
        if not self.has_adaptive_depth:
            return 0
        decisions = min(loops, self.loops_max - 1) - self.loops_min + 1
        left_behind = 6 * self.width**2 if loops < self.loops_max else 0
        return len(self.recurrent_layers) * (2 * decisions * readout + left_behind)


def _check_integers(config: KernelConfig) -> None:
    names = ("vocab_size", "width", "num_layers", "num_heads", "mlp_width", "context")
    for name in (*names, "coupling_reference_length", "loops_min", "loops_max"):
        if not _is_whole(value := getattr(config, name)) or value < 1:
            raise ConfigError(f"{name} is {value!r}; allowed: whole numbers from 1")
    outcomes = config.basin_outcomes
    if outcomes is not None and (not _is_whole(outcomes) or outcomes < 2):
        raise ConfigError(f"basin_outcomes is {outcomes!r}; allowed: whole numbers from 2, or None")


def _check_numbers(config: KernelConfig) -> None:
    for name in ("coupling_start", "simplex_scale", "rotary_base", "norm_epsilon", "init_std"):
        if not _is_finite(value := getattr(config, name)) or value <= 0:
            raise ConfigError(f"{name} is {value!r}; allowed: finite numbers above 0")
    if config.beta_frozen is not None and not _is_finite(config.beta_frozen):
        raise ConfigError(f"beta_frozen is {config.beta_frozen!r}; allowed: finite numbers or None")


def _check_choices(config: KernelConfig) -> None:
    if not isinstance(config.running_coupling, bool):
        raise ConfigError(f"running_coupling is {config.running_coupling!r}; allowed: true, false")
    if config.attention not in ATTENTION_KINDS:
        raise ConfigError(f"attention is {config.attention!r}; allowed: {list(ATTENTION_KINDS)}")
    if config.style not in STYLES:
        raise ConfigError(f"style is {config.style!r}; allowed: {list(STYLES)}")


def _check_recursion(config: KernelConfig) -> None:
    layers: Any = config.recurrent_layers
    known = isinstance(layers, tuple) and all(map(_is_whole, layers))
    if not known or layers != tuple(n for n in range(config.num_layers) if n in layers):
        raise ConfigError(
            f"recurrent_layers is {layers!r}; allowed: rising whole numbers from 0 to "
            f"{config.num_layers - 1}, none twice"
        )
    if not LOOPS_LEAST <= config.loops_min <= config.loops_max:
        raise ConfigError(
            f"need {LOOPS_LEAST} <= loops_min <= loops_max, got {config.loops_min} and "
            f"{config.loops_max}"
        )
    _check_depth_threshold(config)


def _check_depth_threshold(config: KernelConfig) -> None:
    threshold = config.depth_threshold
    if threshold is None:
        return
    if not _is_finite(threshold) or not 0 < threshold < math.pi:
        raise ConfigError(
            f"depth_threshold is {threshold!r}; allowed: radians between 0 and pi, or None"
        )
    if not config.recurrent_layers or config.loops_min == config.loops_max:
        raise ConfigError(
            "depth_threshold needs recurrent_layers and loops_min below loops_max; leave it None"
        )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


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
        # 123.55 M parameters. The last layer recurs, so that what is compared between its passes
        # is the kernel's own next-token distribution. The depth is fixed: to decide on it, two
        # readouts of so many tokens would cost as much as eleven passes.
        "qig-recursive-100m": KernelConfig(
            vocab_size=50_257,
            width=768,
            num_layers=12,
            num_heads=12,
            mlp_width=2048,
            context=2048,
            recurrent_layers=(11,),
            loops_max=4,
        ),
        # 101,236,836 parameters.
        "hlx-100m": KernelConfig(
            vocab_size=100,
            width=1024,
            num_layers=8,
            num_heads=16,
            mlp_width=4096,
            context=256,
            style="post_norm",
            attention="dot",
        ),
        # 49,965,412 parameters.
        "hlx-50m": KernelConfig(
            vocab_size=100,
            width=768,
            num_layers=7,
            num_heads=12,
            mlp_width=3072,
            context=256,
            style="post_norm",
            attention="dot",
        ),
    }
)
"""Named configurations; sizes are tested. A recipe's coordizer sets the vocabulary, and with it the
size, of the kernel that it trains."""
