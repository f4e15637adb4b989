"""Multiply each row by the matrix of its own kernel, for rows of many kernels at once.

The matrices of a kind lie one after the other in one storage. Rows are put in the order of their
kernels; neighbouring kernels with equally many rows make a run, which is one batched product
W x^T. On CPUs that is the fastest form there is: with 64 matrices of 1024 x 192 on one core it
takes 2.3 ms for one row each, where a loop of `functional.linear` takes 7.0, a loop of the form
that `constellation.kernel.writing.fast_products` has for single vectors 4.1, and a batched product
of matrices that were gathered first 38; with eight rows each 6.8 against 9.7, 7.4 and 41. On other
devices a launch costs more than numbers that are not needed: there all rows are padded into one
run.

Shapes: B rows of a pass, T tokens, N kernels, M of them in a run, R rows of each of those, I
inputs, O outputs, V tokens, C channels.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional

GATHERED_SHARE = 3
"""Matrices are gathered when fewer than one in this many is needed: a gathered matrix is read twice
and written once."""


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring kernels that have equally many rows."""

    kernels: slice
    rows: slice
    """Range of rows, in the order of kernels."""
    num_kernels: int


@dataclass(frozen=True, slots=True)
class Padding:
    """All rows as one run, in which every kernel is padded to the largest number of rows.

    Rows keep the order in which they came.
    """

    kernels: slice | Tensor
    """A range of kernels, or the indices of the kernels that are needed."""
    num_kernels: int
    rows_max: int
    place_B: Tensor
    """Place of every row among `num_kernels` times `rows_max`; rows that mean nothing share the
    place behind all others."""
    read_B: Tensor
    """Place at which the product of every row is found, which is among those."""


class Rows:
    """The kernel of each row of one pass, and the rows sorted by kernel.

    Attributes:
        kernel_B: In the order of the rows as they came.
        sorted_B: In the order in which rows are multiplied: that of kernels, unless rows are
            padded.

    Args:
        kernels: Kernel of every row; at least one row.
        device: Device of the matrices.
        padded: Whether to pad all rows into one run.
    """

    def __init__(self, kernels: Sequence[int], device: torch.device, *, padded: bool) -> None:
        order = sorted(range(len(kernels)), key=kernels.__getitem__)
        self.kernel_B = torch.tensor(kernels, device=device)
        self.sorted_B = self.kernel_B
        self._order_B: Tensor | None = None
        self._back_B: Tensor | None = None
        counts = sorted(Counter(kernels).items())
        self.runs = _runs(counts)
        self.padding: Padding | None = None
        if padded and len(self.runs) > 1:
            self.padding = _padding(kernels, counts, device)
        elif order != list(range(len(kernels))):
            self._order_B = torch.tensor(order, device=device)
            self._back_B = self._order_B.argsort()
            self.sorted_B = self.kernel_B[self._order_B]

    @classmethod
    def fixed(cls, kernel_B: Tensor, padding: Padding) -> "Rows":
        """Return padded rows whose numbers are in tensors that the caller changes."""
        rows = cls.__new__(cls)
        rows.kernel_B = rows.sorted_B = kernel_B
        rows._order_B = rows._back_B = None
        rows.runs, rows.padding = [], padding
        return rows

    def by_kernel(self, x: Tensor) -> Tensor:
        """Return rows sorted by kernel, given rows in their original order."""
        return x if self._order_B is None else x[self._order_B]

    def as_they_came(self, x: Tensor) -> Tensor:
        """Return rows in their original order, given rows sorted by kernel."""
        return x if self._back_B is None else x[self._back_B]


def bucket(number: int, most: int) -> int:
    """Return the smallest power of two that is not below a number, at most `most`.

    Args:
        number: From 1 to `most`.
        most: Largest size.
    """
    return min(1 << (number - 1).bit_length(), most)


def grouped_product(x_BTI: Tensor, weight_NOI: Tensor, rows: Rows) -> Tensor:
    """Return rows, as `by_kernel` orders them, times their kernel's matrix, shape (B, T, O)."""
    if rows.padding is not None:
        return _padded_product(x_BTI, weight_NOI, rows.padding)
    parts = [
        _run_product(x_BTI[run.rows], weight_NOI[run.kernels], run.num_kernels) for run in rows.runs
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def grouped_embedding(tokens_BT: Tensor, table_NVC: Tensor, rows: Rows) -> Tensor:
    """Return the embeddings of every row's tokens by its kernel, sorted by kernel, (B, T, C)."""
    offset_B1 = (rows.kernel_B * table_NVC.shape[1]).unsqueeze(1)
    tokens_BT = rows.by_kernel(tokens_BT + offset_B1)
    return functional.embedding(tokens_BT, table_NVC.flatten(0, 1))


def _run_product(x_RTI: Tensor, weight_MOI: Tensor, num_kernels: int) -> Tensor:
    num_rows, num_tokens, num_in = x_RTI.shape
    x_MRI = x_RTI.reshape(num_kernels, -1, num_in)
    if num_kernels == x_MRI.shape[1] == 1:
        # A matrix times a single vector is the slow case: two columns take half its time.
        twice_RI = torch.cat((x_MRI[0], x_MRI[0]))
        product_RO = torch.mm(weight_MOI[0], twice_RI.t()).t()[:1]
    else:
        product_RO = torch.bmm(weight_MOI, x_MRI.transpose(1, 2)).transpose(1, 2)
    return product_RO.reshape(num_rows, num_tokens, -1).contiguous()


def _padded_product(x_BTI: Tensor, weight_NOI: Tensor, padding: Padding) -> Tensor:
    num_places = padding.num_kernels * padding.rows_max
    padded = x_BTI.new_zeros(num_places + 1, *x_BTI.shape[1:])
    padded[padding.place_B] = x_BTI
    product = _run_product(padded[:-1], weight_NOI[padding.kernels], padding.num_kernels)
    return product[padding.read_B]


def _runs(counts: Sequence[tuple[int, int]]) -> list[Run]:
    """Return the runs of sorted pairs of a kernel and its number of rows."""
    runs, row = [], 0
    # Neighbours with equal numbers have the same difference of kernel and place in the list.
    groups = groupby(enumerate(counts), lambda each: (each[1][0] - each[0], each[1][1]))
    for (_, num_rows), group in groups:
        members = [kernel for _, (kernel, _) in group]
        stop = row + num_rows * len(members)
        runs.append(Run(slice(members[0], members[-1] + 1), slice(row, stop), len(members)))
        row = stop
    return runs


def _padding(
    kernels: Sequence[int], counts: Sequence[tuple[int, int]], device: torch.device
) -> Padding:
    needed = [kernel for kernel, _ in counts]
    first, stop = needed[0], needed[-1] + 1
    rows_max = max(num_rows for _, num_rows in counts)
    wanted: slice | Tensor = slice(first, stop)
    lanes = {kernel: kernel - first for kernel in needed}
    num_kernels = stop - first
    if GATHERED_SHARE * len(needed) < num_kernels:
        wanted = torch.tensor(needed, device=device)
        lanes = {kernel: lane for lane, kernel in enumerate(needed)}
        num_kernels = len(needed)
    places = [place for place in places_of(kernels, lanes, rows_max) if place is not None]
    place_B = torch.tensor(places, device=device)
    return Padding(wanted, num_kernels, rows_max, place_B, place_B)


def places_of(
    kernels: Sequence[int | None], lanes: Mapping[int, int], rows_max: int
) -> list[int | None]:
    """Return the place of every row among `rows_max` for each lane; None for rows without kernel.

    Args:
        kernels: Kernel of every row, or None.
        lanes: Kernel -> its lane.
        rows_max: Most rows of one kernel.
    """
    used: Counter[int] = Counter()
    places: list[int | None] = []
    for kernel in kernels:
        if kernel is None:
            places.append(None)
            continue
        places.append(lanes[kernel] * rows_max + used[kernel])
        used[kernel] += 1
    return places
