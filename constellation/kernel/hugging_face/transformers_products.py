"""Replace the matrix products of a `transformers` network by those of `fast_products`."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from constellation.kernel.writing.fast_products import Float32Product, RoundedProduct, Weights


@torch.no_grad()
def quicken(model: Any, weights: Weights) -> None:
    """Let a float32 model on a CPU multiply by the faster products; it must not change afterwards.

    Layouts take memory as those of our own kernels do. In bfloat16 and int8 the float32 matrices
    are dropped, but for those that embed tokens too.

    Args:
        model: A `transformers.PreTrainedModel`.
        weights: How matrices are held: "float32", "bfloat16" or "int8".
    """
    embedding = model.get_input_embeddings().weight
    for module, weight_OI in _matrices(model):
        bias_O = None if module.bias is None else module.bias.detach()
        if weights == "float32":
            module.forward = Float32Product(weight_OI, bias_O)
            continue
        module.forward = RoundedProduct(weight_OI, bias_O, int8=weights == "int8")
        if module.weight is not embedding:
            module.weight = nn.Parameter(weight_OI.new_empty(0), requires_grad=False)


def _matrices(model: Any) -> Iterator[tuple[Any, Tensor]]:
    for module in model.modules():
        if type(module) is nn.Linear:
            yield module, module.weight.detach()
        elif type(module).__name__ == "Conv1D":  # of GPT-2, whose matrices lie on their side
            yield module, module.weight.detach().t()
