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
from collections.abc import Sequence
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
    """All rows as one run, in which every kernel is padded to the largest number of rows."""

    kernels: slice | Tensor
    """A range of kernels, or the indices of the kernels that are needed."""
    num_kernels: int
    rows_max: int
    place_B: Tensor
    """Place of every row, in the order of kernels, among `num_kernels` times `rows_max`."""


class Rows:
    """The kernel of each row of one pass, and the rows sorted by kernel.

    Attributes:
        kernel_B: In the order of the rows as they came.
        sorted_B: In the order of kernels.

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
        if order != list(range(len(kernels))):
            self._order_B = torch.tensor(order, device=device)
            self._back_B = self._order_B.argsort()
            self.sorted_B = self.kernel_B[self._order_B]
        counts = sorted(Counter(kernels).items())
        self.runs = _runs(counts)
        self.padding: Padding | None = None
        if padded and len(self.runs) > 1:
            self.padding = _padding(counts, device)

    def by_kernel(self, x: Tensor) -> Tensor:
        """Return rows sorted by kernel, given rows in their original order."""
        return x if self._order_B is None else x[self._order_B]

    def as_they_came(self, x: Tensor) -> Tensor:
        """Return rows in their original order, given rows sorted by kernel."""
        return x if self._back_B is None else x[self._back_B]


def grouped_product(x_BTI: Tensor, weight_NOI: Tensor, rows: Rows) -> Tensor:
    """Return rows, in the order of kernels, times their kernel's matrix, shape (B, T, O)."""
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
    padded = x_BTI.new_zeros(num_places, *x_BTI.shape[1:])
    padded[padding.place_B] = x_BTI
    product = _run_product(padded, weight_NOI[padding.kernels], padding.num_kernels)
    return product[padding.place_B]


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


def _padding(counts: Sequence[tuple[int, int]], device: torch.device) -> Padding:
    kernels = [kernel for kernel, _ in counts]
    first, stop = kernels[0], kernels[-1] + 1
    rows_max = max(num_rows for _, num_rows in counts)
    wanted: slice | Tensor = slice(first, stop)
    lanes = {kernel: kernel - first for kernel in kernels}
    num_kernels = stop - first
    if GATHERED_SHARE * len(kernels) < num_kernels:
        wanted = torch.tensor(kernels, device=device)
        lanes = {kernel: lane for lane, kernel in enumerate(kernels)}
        num_kernels = len(kernels)
    places = [
        lanes[kernel] * rows_max + row for kernel, num_rows in counts for row in range(num_rows)
    ]
    return Padding(wanted, num_kernels, rows_max, torch.tensor(places, device=device))
