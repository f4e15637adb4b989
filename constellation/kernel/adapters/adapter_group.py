"""Store many adapters of one kind and size together, and add their outputs to the rows of a pass.

A family holds adapters with equal names and shapes of tensors: low-rank ones of the same rank on
the same matrices, or basin-coordinate ones of as many coordinates. Nothing is padded, so that an
adapter takes the memory of its file.

Shapes: N adapters, M of them gathered, B rows of a pass, T tokens, Q rows of a gathered adapter,
I inputs of a matrix, O its outputs, R rank, C channels, K coordinates, L blocks.
"""

import math
from abc import ABC, abstractmethod
from typing import Final

import torch
from torch import Tensor

from constellation.kernel.adapters.adapter_rows import Gathering
from constellation.kernel.adapters.coordinate import Coordinates
from constellation.kernel.adapters.lora import low_rank_parts
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.sphere import amplitudes
from constellation.kernel.writing.kernel_stack import Storage

Key = tuple[tuple[str, tuple[int, ...]], ...]
"""Names and shapes of an adapter's tensors; adapters with equal keys are one family."""

SPARE: Final = 16
"""Room for one more adapter in so many: storages this small are given memory that was used before,
so that room costs something, on a CPU too. With twice the room 200 adapters took 1.14 times their
files' size, with this 1.03."""


class Family(ABC):
    """Adapters of one kind and size, stored together."""

    def __init__(self) -> None:
        self._storages: dict[str, Storage] = {}
        self._lanes: set[int] = set()
        self._rows: Gathering | None = None
        self._scratch: Tensor | None = None
        self._kept: list[Tensor] = []  # smaller ones, which recorded steps still write to

    @property
    def num_moves(self) -> int:
        """How often the adapters' numbers were moved to larger memory."""
        return sum(storage.num_moves for storage in self._storages.values())

    def put(self, decoder: Decoder) -> int:
        """Copy a decoder's adapter in; return its lane (index), the lowest that is free."""
        lane = next(n for n in range(len(self._lanes) + 1) if n not in self._lanes)
        for name, number in self._numbers(decoder).items():
            if name not in self._storages:
                self._storages[name] = Storage(number, spare=SPARE)
            self._storages[name].put(lane, number)
        self._lanes.add(lane)
        return lane

    def drop(self, lane: int) -> None:
        """Free an adapter's lane for the next one."""
        self._lanes.discard(lane)

    def begin(self, rows: Gathering | None) -> None:
        """Set which rows of the next pass have an adapter of this family; None for no row."""
        self._rows = rows

    @abstractmethod
    def after_matrix(self, path: str, x_BTI: Tensor, y_BTO: Tensor) -> None:
        """Add the adapters' part to the products of a matrix, in place."""

    @abstractmethod
    def after_block(self, index: int, x_BTC: Tensor) -> None:
        """Add the adapters' part to the residual stream after a block, in place."""

    @abstractmethod
    def _numbers(self, decoder: Decoder) -> dict[str, Tensor]:
        """Return an adapter's numbers as they are held."""

    def _gathered(self, name: str, rows: Gathering) -> Tensor:
        """Return the numbers that a pass wants of a name, to be used before the next are gathered.

        All are gathered to the same memory: new memory would be given back to the system each time,
        whose pages cost more than the copy.
        """
        values = self._storages[name].values
        shape = (len(rows.lane_M), *values.shape[1:])
        size = math.prod(shape)
        if self._scratch is None or self._scratch.numel() < size:
            if self._scratch is not None and values.device.type != "cpu":
                self._kept.append(self._scratch)
            self._scratch = values.new_empty(size)
        scratch = self._scratch[:size].view(shape)
        return torch.index_select(values, 0, rows.lane_M, out=scratch)


class LowRankFamily(Family):
    """Low-rank adapters: x A^T B^T with alpha / rank in B, which lies beside A, transposed."""

    def after_matrix(self, path: str, x_BTI: Tensor, y_BTO: Tensor) -> None:
        """Add scale * B A x, each row's own, if the family adapts this matrix."""
        rows = self._rows
        if rows is None or path not in self._storages:
            return
        both_MRX = self._gathered(path, rows)
        num_in = x_BTI.shape[-1]
        a_MRI, b_MRO = both_MRX[..., :num_in], both_MRX[..., num_in:]
        # With A first the product is twice as fast as with the rows first.
        h_MRQ = torch.bmm(a_MRI, rows.taken(x_BTI).transpose(1, 2))
        rows.add_product(y_BTO, h_MRQ.transpose(1, 2), b_MRO)

    def after_block(self, index: int, x_BTC: Tensor) -> None:
        """Do nothing: low-rank adapters act on matrices only."""

    def _numbers(self, decoder: Decoder) -> dict[str, Tensor]:
        return {
            path: torch.cat((part.a_RI.detach(), part.b_OR.detach().t() * part.config.scale), 1)
            for path, part in low_rank_parts(decoder.blocks)
        }


_AXES: Final = "axes"
_GATES: Final = "gates"


class CoordinateFamily(Family):
    """Basin-coordinate adapters: x + P (g * u) after every block."""

    def __init__(self) -> None:
        super().__init__()
        self._axes_MCK: Tensor | None = None

    def begin(self, rows: Gathering | None) -> None:
        """As `Family.begin`; the axes are gathered once, since all blocks have the same."""
        super().begin(rows)
        self._axes_MCK = None if rows is None else self._gathered(_AXES, rows)

    def after_matrix(self, path: str, x_BTI: Tensor, y_BTO: Tensor) -> None:
        """Do nothing: coordinate adapters act after blocks only."""

    def after_block(self, index: int, x_BTC: Tensor) -> None:
        """Add P (g * u), each row's own."""
        rows, axes_MCK = self._rows, self._axes_MCK
        if rows is None or axes_MCK is None:
            return
        along_MQK = torch.bmm(rows.taken(x_BTC), axes_MCK).float()
        read_MQK = amplitudes(along_MQK, along_MQK.new_full((), math.sqrt(along_MQK.shape[-1])))
        gates_MK = self._storages[_GATES].values[:, index].index_select(0, rows.lane_M)
        written_MQK = (gates_MK.unsqueeze(1) * read_MQK).to(x_BTC.dtype)
        rows.add_product(x_BTC, written_MQK, axes_MCK.transpose(1, 2))

    def _numbers(self, decoder: Decoder) -> dict[str, Tensor]:
        parts = _coordinates(decoder)
        gates_LK = torch.stack([part.gates_K.detach() for part in parts])
        return {_AXES: parts[0].axes_CK.detach(), _GATES: gates_LK}


def key_of(decoder: Decoder) -> Key:
    """Return the key of a decoder's adapter; () when it has none."""
    parts = [
        (path, (*part.a_RI.shape, *part.b_OR.shape))
        for path, part in low_rank_parts(decoder.blocks)
    ]
    parts += [(_AXES, tuple(part.axes_CK.shape)) for part in _coordinates(decoder)[:1]]
    return tuple(parts)


def family_of(key: Key) -> Family:
    """Return a new family for adapters of this key, which is not ()."""
    return CoordinateFamily() if key[0][0] == _AXES else LowRankFamily()


def _coordinates(decoder: Decoder) -> list[Coordinates]:
    return [module for module in decoder.blocks.modules() if isinstance(module, Coordinates)]
