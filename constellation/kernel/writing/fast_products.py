"""Faster matrix products with few vectors, for kernels that only write and are not trained.

`functional.linear` with one float32 vector runs at half the speed of memory in the libraries that
torch uses on CPUs, and with eight at a fifth of what the processor can do. Two forms are faster, in
sums of another order but the same precision:

* for one or two vectors, W x^T with two columns;
* for more, oneDNN's product with the matrix laid out for it beforehand. Those are the private
  operators `torch.ops.mkldnn._reorder_linear_weight` and `_linear_pointwise`, on which
  `torch.compile` builds; where they are missing, `functional.linear` does the work.

Matrices may also be held in bfloat16, or in int8 with a scale per row. Their products round the
vectors to bfloat16, and what a text becomes may then depend on its company where two tokens are
nearly equal. int8 multiplies up to `INT8_ROWS` rows by the private operator
`torch._weight_int8pack_mm`, and more rows as bfloat16, of the same rounded matrix.

All products of a step at the shape of `qig-23m` on one core, milliseconds at 1, 8 and 32 rows:
`functional.linear` 10.0, 18.1, 33.3; float32 5.3, 9.0, 19.3; bfloat16 4.4, 5.3, 10.3; int8 at 1
row 2.5.

Shapes: R rows, I inputs, O outputs.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any, ClassVar, Literal
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

from constellation.errors import ConfigError
from constellation.kernel.network.attention import Linear
from constellation.kernel.network.decoder import Decoder

Weights = Literal["float32", "bfloat16", "int8"]
"""How matrices are held in memory: float32, bfloat16 or int8."""

NARROW_ROWS = 2
"""Number of rows up to which W x^T is the faster form in float32."""
INT8_ROWS = 4
"""Number of rows up to which the int8 operator is faster than bfloat16."""
INT8_INPUTS = 16
"""Multiple of inputs that int8 needs: the operator reads past the end of other matrices, which are
multiplied as bfloat16."""
_ROWS_EXPECTED = 8  # what a layout is chosen for; other numbers of rows are nearly as fast


class LaidOut:
    """x W^T + b of a matrix that does not change any more, for any number of rows x.

    Attributes:
        by_number: Those that live, for operators of compiled code.
    """

    by_number: ClassVar[WeakValueDictionary[int, "LaidOut"]] = WeakValueDictionary()
    _numbers: ClassVar[Iterator[int]] = count()

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None) -> None:
        self._bias_O = bias_O
        self._is_laid_out = can_lay_out(weight_OI)
        self._weight_OI = weight_OI
        if self._is_laid_out:
            self._weight_OI = torch.ops.mkldnn._reorder_linear_weight(weight_OI, _ROWS_EXPECTED)
        self._number = next(self._numbers)
        self._num_out = len(weight_OI)
        self.by_number[self._number] = self

    def __call__(self, x_RI: Tensor) -> Tensor:
        """Return the product, shape (R, O), in the precision of the matrix."""
        if not self._is_laid_out:
            return functional.linear(x_RI, self._weight_OI, self._bias_O)
        if torch.compiler.is_dynamo_compiling():  # which cannot see into the layout
            product_RO: Tensor = torch.ops.constellation.laid_out(x_RI, self._number, self._num_out)
            return product_RO
        return torch.ops.mkldnn._linear_pointwise(  # type: ignore[no-any-return]
            x_RI, self._weight_OI, self._bias_O, "none", [], ""
        )


class Float32Product:
    """The product in float32. The second layout is made on first use, so idle kernels save it."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None) -> None:
        self._weight_OI = weight_OI
        self._bias_O = bias_O
        self._laid_out: LaidOut | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Return the product, shape (..., O), of `x`, shape (..., I)."""
        x_RI = x.reshape(-1, x.shape[-1])
        product_RO = self._narrow(x_RI) if len(x_RI) <= NARROW_ROWS else self._wide(x_RI)
        return product_RO.view(*x.shape[:-1], -1)

    def _wide(self, x_RI: Tensor) -> Tensor:
        if self._laid_out is None:
            self._laid_out = LaidOut(self._weight_OI, self._bias_O)
        return self._laid_out(x_RI)

    def _narrow(self, x_RI: Tensor) -> Tensor:
        # A matrix times a single vector is the slow case: two columns take half its time.
        twice_RI = x_RI if len(x_RI) == NARROW_ROWS else torch.cat((x_RI, x_RI))
        product_RO = torch.mm(self._weight_OI, twice_RI.t()).t()[: len(x_RI)].contiguous()
        return product_RO if self._bias_O is None else product_RO + self._bias_O


class RoundedProduct:
    """The product with a matrix in bfloat16 or int8; input and output are float32.

    Args:
        weight_OI: The matrix, float32.
        bias_O: Added in float32.
        int8: Whether the matrix is rounded to int8, with a scale per row.
    """

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None, *, int8: bool) -> None:
        self._bias_O = bias_O
        self._whole_OI: Tensor | None = None
        if int8:
            self._scale_O = (weight_OI.abs().amax(1).clamp(min=1e-30) / 127).to(torch.bfloat16)
            scale_O1 = self._scale_O.float().unsqueeze(1)
            whole_OI = (weight_OI / scale_O1).round().clamp(-127, 127)
            weight_OI = whole_OI * scale_O1
            fits = weight_OI.shape[1] % INT8_INPUTS == 0
            if fits and hasattr(torch, "_weight_int8pack_mm"):
                self._whole_OI = whole_OI.to(torch.int8)
        self._laid_out = LaidOut(weight_OI.to(torch.bfloat16), None)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the product, shape (..., O), of `x`, shape (..., I)."""
        x_RI = x.reshape(-1, x.shape[-1]).to(torch.bfloat16)
        if self._whole_OI is not None and len(x_RI) <= INT8_ROWS:
            product_RO = torch._weight_int8pack_mm(x_RI, self._whole_OI, self._scale_O)
        else:
            product_RO = self._laid_out(x_RI)
        product = product_RO.to(x.dtype).view(*x.shape[:-1], -1)
        return product if self._bias_O is None else product + self._bias_O


_KINDS: dict[str, Callable[[Tensor, Tensor | None], Callable[[Tensor], Tensor]]] = {
    "float32": Float32Product,
    "bfloat16": partial(RoundedProduct, int8=False),
    "int8": partial(RoundedProduct, int8=True),
}


def can_lay_out(weight_OI: Tensor) -> bool:
    """Return whether oneDNN's product is available for this matrix."""
    return (
        weight_OI.device.type == "cpu"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


@torch.no_grad()
def prepare(decoder: Decoder, weights: Weights = "float32") -> Decoder:
    """Replace a decoder's products by the faster ones, for use without gradients; return it.

    Its weights must not change afterwards. Layouts take memory: as much again as the matrices in
    float32 once more than two rows were multiplied, half of it in bfloat16, three quarters in int8.

    Args:
        decoder: Any; with "float32" one that is not on a CPU, or of another precision, stays as
            it is.
        weights: How matrices are held; all but "float32" need a float32 decoder on a CPU.

    Raises:
        ConfigError: If the decoder's weights cannot be held so.
    """
    embedding = decoder.embedding
    if embedding.device.type != "cpu" or embedding.dtype != torch.float32:
        if weights == "float32":
            return decoder
        raise ConfigError(
            f"weights in {weights} need a float32 kernel on a CPU, got {embedding.dtype} on "
            f"{embedding.device}"
        )
    make = _KINDS[weights]
    for matrix in _matrices(decoder):
        matrix.product = make(matrix.weight.detach(), _detached(matrix.bias))
    decoder.output_product = make(decoder.output_weight.detach(), _detached(decoder.output_bias))
    return decoder


def _matrices(decoder: nn.Module) -> Iterator[Any]:
    return (module for module in decoder.modules() if type(module) is Linear)


def _detached(bias_O: Tensor | None) -> Tensor | None:
    return None if bias_O is None else bias_O.detach()
