"""Stack kernels of one architecture, so that one forward pass serves texts of many kernels.

A stack is a `Decoder` whose matrices, norms and couplings are looked up for every row of a batch.
Between attention layers the residual stream is in the order of kernels, so that products are
batched (`grouped_products.py`); within attention it is in the order of the cache. A kernel's
numbers are copied into the stack once, and are stored nowhere else.

Kernels with layers that recur, of the style `post_norm` or with a frozen input cannot be stacked:
each is stepped by a batch of its own. Adapters over one base have a stack of
another kind (`constellation.kernel.adapters.adapter_stack`).

Shapes: N kernels, B rows, T tokens, L layers, M norms of all layers, H heads, C channels, V tokens.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from constellation.errors import ConfigError
from constellation.kernel.network.attention import (
    COUPLING_FLOOR,
    Coupling,
    Linear,
    Positions,
    log_length_table,
    rotary_phases,
)
from constellation.kernel.network.block import Block
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder, Memory
from constellation.kernel.network.norm import RMSNorm, normalise
from constellation.kernel.network.recursion import Depths
from constellation.kernel.writing.grouped_products import (
    GATHERED_SHARE,
    Padding,
    Rows,
    bucket,
    grouped_embedding,
    grouped_product,
    places_of,
)


def can_stack(decoder: Decoder) -> bool:
    """Return whether a kernel can be part of a stack."""
    config = decoder.config
    plain = config.is_modern and not config.recurrent_layers and not config.frozen_input
    return plain and decoder.state_dict().keys() == Decoder(config, seed=None).state_dict().keys()


class Storage:
    """One number, vector or matrix of every kernel, in one tensor that grows.

    Attributes:
        values: Shape (N or more, ...).
        num_moves: How often the values were moved to larger memory.

    Args:
        like: Values of one kernel, for shape, data type and device.
        spare: The storage grows by room for at least one more kernel per this many kernels.
    """

    def __init__(self, like: Tensor, *, spare: int) -> None:
        self.values = like.new_empty(0, *like.shape)
        self.num_moves = 0
        self._spare = spare

    def put(self, kernel: int, value: Tensor) -> None:
        """Copy one kernel's values in."""
        held = self.values
        if kernel >= len(held):
            room = len(held) // self._spare
            self.values = held.new_empty(max(kernel + 1, len(held) + room), *held.shape[1:])
            self.values[: len(held)] = held
            self.num_moves += 1
        self.values[kernel] = value


class Lookup:
    """State that all modules of a stack share: the kernels' values, and the kernel of each row."""

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}
        self.rows: Rows | None = None

    def values(self, name: str) -> Tensor:
        """Return a parameter of all kernels, shape (N or more, ...)."""
        return self.storages[name].values

    @property
    def current(self) -> Rows:
        """The rows of the present pass."""
        assert self.rows is not None
        return self.rows


class StackedLinear:
    """A matrix per kernel, used as `Linear.product`.

    Args:
        lookup: Shared state of the stack.
        name: Name of the matrix.
        enters: Whether rows come in the order of the cache.
        leaves: Whether rows are returned in the order of the cache.
    """

    def __init__(
        self, lookup: Lookup, name: str, *, enters: bool = False, leaves: bool = False
    ) -> None:
        self._lookup, self._name = lookup, name
        self._enters, self._leaves = enters, leaves

    def __call__(self, x_BTI: Tensor) -> Tensor:
        """Return the products, shape (B, T, O)."""
        rows = self._lookup.current
        x_BTI = rows.by_kernel(x_BTI) if self._enters else x_BTI
        product_BTO = grouped_product(x_BTI, self._lookup.values(self._name), rows)
        return rows.as_they_came(product_BTO) if self._leaves else product_BTO


class StackedNorm(RMSNorm):
    """An RMSNorm per kernel."""

    def __init__(self, lookup: Lookup, name: str, *, epsilon: float) -> None:
        super().__init__(0, epsilon=epsilon)
        self._lookup, self._name = lookup, name

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Return the rows, in the order of kernels, normalised by their own weights."""
        weight_BC = self._lookup.values(self._name)[self._lookup.current.sorted_B]
        return normalise(x_BTC, weight_BC.unsqueeze(1), self.epsilon)


class StackedCoupling(Coupling):
    """The couplings of all layers of every row's kernel."""

    def __init__(self, lookup: Lookup, config: KernelConfig) -> None:
        super().__init__(config)
        self._lookup = lookup

    def forward(self, positions: Positions) -> Tensor:
        """Return the lengths of queries and keys, shape (L, B, T or 1, 2, H, 1), as `Coupling`."""
        kappa_LB1H = self._of_rows("coupling.log_kappa_NH").exp()
        kappa = kappa_LB1H
        if self.config.running_coupling:
            kappa = self._running(kappa_LB1H, positions)
        return torch.stack((kappa, torch.ones_like(kappa)), -2).unsqueeze(-1)

    def _running(self, kappa_LB1H: Tensor, positions: Positions) -> Tensor:
        config = self.config
        table = log_length_table(
            config.context, config.coupling_reference_length, kappa_LB1H.device
        )
        log = table[positions].unsqueeze(-1)  # (T, 1), or (B, 1, 1) with places per row
        if config.beta_frozen is not None:
            slope = config.beta_frozen * log
        else:
            slope = self._of_rows("coupling.beta_NH") * log
        return kappa_LB1H * slope.add(1.0).clamp(min=COUPLING_FLOOR)

    def _of_rows(self, name: str) -> Tensor:
        """Return a number per layer, row and head, shape (L, B, 1, H), float32."""
        values_BLH = self._lookup.values(name)[self._lookup.current.kernel_B]
        return values_BLH.float().transpose(0, 1).unsqueeze(2)


class KernelStack(Decoder):
    """Kernels of one architecture that are read together in one pass.

    Attributes:
        kernels: Places that are taken.

    Args:
        like: A kernel of the architecture, precision and device; its values are not copied.
        padded: How products are grouped, see `grouped_products.py`; None chooses by device.

    Raises:
        ConfigError: Its kind cannot be stacked.
    """

    def __init__(self, like: Decoder, *, padded: bool | None = None) -> None:
        if not can_stack(like):
            raise ConfigError("this kind of kernel cannot be stacked; step it by itself")
        super().__init__(replace(like.config, basin_outcomes=None), seed=None)
        self.kernels: set[int] = set()
        self._padded = like.embedding.device.type != "cpu" if padded is None else padded
        self._lookup = Lookup()
        for name, tensor in _numbers(like).items():
            # Memory that nothing was written to costs nothing on a CPU; elsewhere it does.
            spare = 1 if tensor.device.type == "cpu" else 16
            self._lookup.storages[name] = Storage(tensor, spare=spare)
        self._look_up()
        self.embedding = nn.Parameter(like.embedding.new_empty(0), requires_grad=False)

    def fits(self, decoder: Decoder) -> bool:
        """Return whether a kernel is of the architecture, precision and device of this stack."""
        return (
            can_stack(decoder)
            and replace(decoder.config, basin_outcomes=None) == self.config
            and decoder.embedding.dtype == self.embedding.dtype
            and decoder.embedding.device == self.embedding.device
        )

    def put(self, decoder: Decoder) -> int:
        """Copy a kernel's values in; return its place in the stack.

        Raises:
            ConfigError: The kernel has another architecture, precision or device.
        """
        if not self.fits(decoder):
            raise ConfigError("the kernel is of another architecture than those of the stack")
        kernel = next(n for n in range(len(self.kernels) + 1) if n not in self.kernels)
        for name, tensor in _numbers(decoder).items():
            self._lookup.storages[name].put(kernel, tensor.detach())
        self.kernels.add(kernel)
        return kernel

    def drop(self, kernel: int) -> None:
        """Free a kernel's place for the next one."""
        self.kernels.discard(kernel)

    def alone(self, kernel: int) -> Decoder:
        """Return one of the kernels as a decoder over the stack's storage, without gradients.

        The decoder keeps the present storage alive, even when the stack has moved to a larger one.
        """
        decoder = Decoder(self.config, seed=None)
        storages = self._lookup.storages
        state = {name: storage.values[kernel] for name, storage in storages.items()}
        decoder.load_state_dict(state, assign=True)
        return decoder.requires_grad_(False).eval()

    def hidden_of(self, tokens_BT: Tensor, cache: Memory | None, kernels: Sequence[int]) -> Tensor:
        """Return the final hidden states of rows of the kernels at these places, (B, T, C)."""
        self._lookup.rows = rows = self._rows(kernels)
        return rows.as_they_came(super().hidden(tokens_BT, cache))

    def logits_of(self, hidden: Tensor, kernels: Sequence[int]) -> Tensor:
        """Return the logits of hidden states of several kernels, shape (R, V)."""
        rows = self._rows(kernels)
        hidden_R1C = rows.by_kernel(hidden).unsqueeze(1)
        product_R1V = grouped_product(hidden_R1C, self._lookup.values("embedding"), rows)
        return rows.as_they_came(product_R1V.squeeze(1))

    @property
    def num_moves(self) -> int:
        """How often the numbers of all kernels were moved to larger memory."""
        return self._lookup.storages["embedding"].num_moves

    def fixed_inputs(self, kernels: Sequence[int | None]) -> tuple[tuple[int, ...], list[int]]:
        """Return sizes and numbers of a pass over fixed rows, see `recorded_steps.py`.

        The sizes are lanes of kernels and rows of each; the numbers are the kernel, the place and
        the place of the product of every row, and the kernel of every lane.
        """
        counts = Counter(kernel for kernel in kernels if kernel is not None)
        num_stored = len(self._lookup.values("embedding"))
        rows_max = bucket(max(counts.values()), len(kernels))
        num_lanes = bucket(len(counts), num_stored)
        lanes = {kernel: lane for lane, kernel in enumerate(sorted(counts))}
        of_lane = sorted(counts) + [0] * (num_lanes - len(counts))
        if GATHERED_SHARE * num_lanes >= num_stored:
            num_lanes, lanes, of_lane = num_stored, {k: k for k in counts}, []
        places = places_of(kernels, lanes, rows_max)
        spare = num_lanes * rows_max
        numbers = [0 if kernel is None else kernel for kernel in kernels]
        numbers += [spare if place is None else place for place in places]
        numbers += [0 if place is None else place for place in places]
        return (num_lanes, rows_max), numbers + of_lane

    def hidden_fixed(
        self, tokens_B1: Tensor, cache: Memory, sizes: tuple[int, ...], numbers: Tensor
    ) -> Tensor:
        """Return the final hidden states of fixed rows, (B, 1, C), given what `fixed_inputs` says.

        Args:
            tokens_B1: One token of every row.
            cache: Of these rows.
            sizes: As `fixed_inputs` returned.
            numbers: As `fixed_inputs` returned, in a tensor.
        """
        (num_lanes, rows_max), num_rows = sizes, len(tokens_B1)
        kernel_B, place_B, read_B = numbers[: 3 * num_rows].view(3, num_rows).unbind()
        of_lane = numbers[3 * num_rows :]
        wanted = of_lane if len(of_lane) else slice(0, num_lanes)
        padding = Padding(wanted, num_lanes, rows_max, place_B, read_B)
        self._lookup.rows = Rows.fixed(kernel_B, padding)
        return super().hidden(tokens_B1, cache)

    def hidden(
        self, tokens_BT: Tensor, cache: Memory | None = None, *, depths: Depths | None = None
    ) -> Tensor:
        """Raise: every row of a stack needs its kernel; see `hidden_of`."""
        raise ConfigError("rows of a stack have kernels; use hidden_of, or alone(kernel).hidden")

    def logits(self, hidden: Tensor) -> Tensor:
        """Raise: every row of a stack needs its kernel; see `logits_of`."""
        raise ConfigError("rows of a stack have kernels; use logits_of, or alone(kernel).logits")

    def _rows(self, kernels: Sequence[int]) -> Rows:
        return Rows(kernels, self.embedding.device, padded=self._padded)

    def _placed(self, tokens_BT: Tensor, positions: Positions) -> tuple[Tensor, Tensor | None]:
        table_NVC = self._lookup.values("embedding")
        x_BTC = grouped_embedding(tokens_BT, table_NVC, self._lookup.current)
        return x_BTC, rotary_phases(self.config, tokens_BT.device)[positions]

    def _look_up(self) -> None:
        """Make every module read its values from the storages instead of its own parameters."""
        epsilon = self.config.norm_epsilon
        for index, module in enumerate(self.blocks):
            block, prefix = cast(Block, module), f"blocks.{index}."
            for name in ("attention_norm", "mlp_norm"):
                norm = StackedNorm(self._lookup, f"{prefix}{name}.weight", epsilon=epsilon)
                setattr(block, name, norm)
            matrices = {
                "attention.qkv": {"leaves": True},
                "attention.out": {"enters": True},
                "gate_up": {},
                "down": {},
            }
            for name, order in matrices.items():
                matrix = cast(Linear, block.get_submodule(name))
                matrix.product = StackedLinear(self._lookup, f"{prefix}{name}.weight", **order)
                matrix.weight = nn.Parameter(torch.empty(0), requires_grad=False)
        self.norm = StackedNorm(self._lookup, "norm.weight", epsilon=epsilon)
        if self.coupling is not None:
            self.coupling = StackedCoupling(self._lookup, self.config)


def _numbers(decoder: Decoder) -> dict[str, Tensor]:
    """Return the parameters that a kernel writes with: all but those of its basin head."""
    state = decoder.state_dict()
    return {name: value for name, value in state.items() if not name.startswith("basin_head.")}
