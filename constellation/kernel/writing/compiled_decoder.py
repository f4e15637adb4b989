"""A decoder compiled by torch for writing: everything between matrix products runs as one function.

`torch.compile` joins norms, rotations, gates and sums into few loops. Two things stay as they are,
as operators that the compiler does not open: products of matrices that are laid out for them
(`fast_products.py`), and attention, since a compiler would copy all keys and values to append one.
A step of the shape `qig-23m` takes .86 to .93 of its time.

Three functions are made, for one, two, and more texts, whatever their lengths; there is no fourth,
so nothing is compiled anew when texts join or leave. Prompts are read as before. Sums have another
order, and logits differ by rounding.

Shapes: B rows of a forward pass, T new positions, C channels, H heads, D channels of a head.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

from constellation.kernel.network.attention import attend
from constellation.kernel.network.cache import KVCache, LayerCache
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.slots import SlotCache, SlotRows
from constellation.kernel.writing.fast_products import LaidOut

logger = logging.getLogger(__name__)

MANY = 3
"""Number of rows from which one compiled function serves every number of rows."""

_Through = Callable[[Tensor, Tensor | None, Sequence[Tensor | None]], Tensor]


def can_compile(decoder: Decoder) -> bool:
    """Return whether a decoder's writing can be compiled: on a CPU, without recurrent layers."""
    is_plain = type(decoder) is Decoder and not decoder.config.recurrent_layers
    return is_plain and decoder.embedding.device.type == "cpu"


class CompiledDecoder:
    """Computes what its decoder computes, and new tokens faster once it is compiled.

    Args:
        decoder: One that `can_compile`, with its products prepared; its weights do not change.

    Attributes:
        config: The decoder's.
        embedding: The decoder's.
        is_compiled: Whether new tokens use the compiled functions.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.config: KernelConfig = decoder.config
        self.embedding: Tensor = decoder.embedding
        self.is_compiled = False
        self._decoder = decoder
        self._layers = [_Layer(index) for index in range(decoder.config.num_layers)]
        self._of_rows = {rows: self._compilable() for rows in range(1, MANY + 1)}

    def compile_beside(self) -> None:
        """Compile in a thread; if compiling fails, the uncompiled decoder stays in use."""
        threading.Thread(target=self._compile_or_not, name="compile", daemon=True).start()

    def _compile_or_not(self) -> None:
        try:
            self.compile()
        except (RuntimeError, OSError):  # whatever torch and the C++ compiler raise
            logger.exception("kernel not compiled")
        else:
            logger.info("kernel compiled")

    def compile(self) -> None:
        """Compile all functions that are needed; takes tens of seconds and a C++ compiler.

        Any thread may do it; the decoder serves meanwhile.

        Raises:
            RuntimeError: Compiling fails on this machine.
        """
        _operators()
        for rows in self._of_rows:
            self._try(rows)
        self.is_compiled = True

    def hidden(self, tokens_BT: Tensor, cache: KVCache | SlotRows | None = None) -> Tensor:
        """Return the final hidden states, as `Decoder.hidden`."""
        if not self.is_compiled or not isinstance(cache, SlotRows) or tokens_BT.shape[1] != 1:
            return self._decoder.hidden(tokens_BT, cache)
        try:
            return self._written(tokens_BT, cache)
        except TorchDynamoException:  # it would be compiled anew; nothing was counted yet
            self.is_compiled = False
            logger.exception("compiling a kernel failed")
            return self._decoder.hidden(tokens_BT, cache)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits, as `Decoder.logits`."""
        return self._decoder.logits(hidden)

    @torch.inference_mode()
    def _try(self, rows: int) -> None:
        """Write a dummy token with separate storage, to trigger compilation."""
        slots = SlotCache(self.config, dtype=self.embedding.dtype)
        for _ in range(rows):
            slots.open()
        tokens_B1 = torch.zeros(rows, 1, dtype=torch.int64)
        self._decoder.hidden(tokens_B1, slots.rows(0, rows))  # makes the layouts of that many
        self._written(tokens_B1, slots.rows(0, rows))

    def _written(self, tokens_B1: Tensor, cache: SlotRows) -> Tensor:
        num_rows = len(tokens_B1)
        positions = self._decoder.reserve(1, cache)
        if isinstance(positions, slice):  # one form for equal and for different lengths
            positions = torch.full((num_rows, 1), positions.start)
        x_B1C, phases, scales = self._decoder.begin(tokens_B1, positions)
        if phases is not None:
            phases = torch.view_as_real(phases)
        if num_rows >= MANY:
            for each in (x_B1C, phases, *scales):
                if each is not None and each.shape[0] == num_rows:
                    torch._dynamo.mark_dynamic(each, 0)
        _HERE.cache = cache
        try:
            hidden_B1C = self._of_rows[min(num_rows, MANY)](x_B1C, phases, scales)
        finally:
            _HERE.cache = None
        cache.advance(1)
        return hidden_B1C

    def _compilable(self) -> _Through:
        def through(
            x_B1C: Tensor, phases: Tensor | None, scales: Sequence[Tensor | None]
        ) -> Tensor:
            for block, layer, scale in zip(self._decoder.blocks, self._layers, scales, strict=True):
                x_B1C = block(x_B1C, phases, scale, layer)
            return self._decoder.normalised(x_B1C)

        # Stubs of torch do not know the last two: no function is ever compiled a second time.
        make = cast(Any, torch.compile)
        made: _Through = make(through, fullgraph=True, isolate_recompiles=True, recompile_limit=1)
        return made


class _Layer(LayerCache):
    """Placeholder for a layer's cache in compiled code; the operator looks the real cache up."""

    def __init__(self, number: int) -> None:
        self._number = number

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, cache: LayerCache, logit_scale: float
    ) -> Tensor:
        """Return what `attention.attend` returns for the layer's real cache."""
        result: Tensor = torch.ops.constellation.attend(
            query, key, value, self._number, logit_scale
        )
        return result


class _Here(threading.local):
    """Caches that the current step of this thread reads and appends to."""

    cache: SlotRows | None = None


_HERE = _Here()


def _attend(query: Tensor, key: Tensor, value: Tensor, layer: int, scale: float) -> Tensor:
    assert _HERE.cache is not None
    return attend(query, key, value, _HERE.cache.layer(layer)[0], scale)


def _attended(query: Tensor, key: Tensor, value: Tensor, layer: int, scale: float) -> Tensor:
    B, H, T, D = query.shape
    return query.new_empty(B, T, H * D)


@lru_cache(maxsize=1)
def _operators() -> Any:
    """Register the operators with torch, for the lifetime of the process."""
    library = cast(Any, torch.library.Library)("constellation", "FRAGMENT")
    library.define("attend(Tensor q, Tensor k, Tensor v, int layer, float scale) -> Tensor")
    library.impl("attend", _attend, "CPU")
    torch.library.register_fake("constellation::attend", _attended, lib=library)
    library.define("laid_out(Tensor x, int number, int num_out) -> Tensor")
    library.impl("laid_out", lambda x, number, _: LaidOut.by_number[number](x), "CPU")
    torch.library.register_fake(
        "constellation::laid_out",
        lambda x, _, num_out: x.new_empty(x.shape[0], num_out),
        lib=library,
    )
    return library
