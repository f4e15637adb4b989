"""How the next token is drawn from logits.

Order: repetition penalty, temperature, top-k, top-p, min-p. Randomness comes from a generator
passed in, so the same seed draws the same tokens. Shapes: V tokens.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from constellation.records import Sampling


def generator_for(sampling: Sampling) -> torch.Generator:
    """Return a fresh source of randomness for one sequence."""
    generator = torch.Generator()
    if sampling.seed is None:
        generator.seed()
    else:
        generator.manual_seed(sampling.seed)
    return generator


def pick(
    logits_V: Tensor, sampling: Sampling, *, generator: torch.Generator, seen: Iterable[int] = ()
) -> int:
    """Draw one token.

    Args:
        logits_V: Unnormalised log-probabilities; left as they are.
        sampling: Options of the draw.
        generator: Advanced by one draw, or not at all at temperature 0.
        seen: Tokens that the repetition penalty weighs down.

    Returns:
        The token's index. At temperature 0 ties go to the lowest index.
    """
    logits_V = _penalised(logits_V.float(), sampling.repetition_penalty, seen)
    if sampling.temperature == 0:
        return int(logits_V.argmax())
    # Double precision, the maximum taken off: a tiny temperature must not become 0 or overflow.
    logits_V = (logits_V - logits_V.max()).double() / sampling.temperature
    p_V = torch.softmax(_kept(logits_V, sampling), -1).cpu()
    return int(torch.multinomial(p_V, 1, generator=generator))


def _penalised(logits_V: Tensor, penalty: float, seen: Iterable[int]) -> Tensor:
    if penalty == 1.0:
        return logits_V
    index = torch.tensor(sorted(set(seen)), dtype=torch.int64, device=logits_V.device)
    picked = logits_V[index]
    return logits_V.index_put((index,), torch.where(picked > 0, picked / penalty, picked * penalty))


def _kept(logits_V: Tensor, sampling: Sampling) -> Tensor:
    """Return the logits with everything that top-k, top-p or min-p drop set to -inf."""
    if sampling.top_k is not None and sampling.top_k < len(logits_V):
        threshold = logits_V.topk(sampling.top_k).values[-1]
        logits_V = logits_V.masked_fill(logits_V < threshold, -math.inf)
    if sampling.top_p < 1:
        ordered, order = logits_V.sort(descending=True, stable=True)
        p_ordered = torch.softmax(ordered, -1)
        # A token stays while the mass before it is short of top_p, so at least the likeliest stays.
        dropped = p_ordered.cumsum(-1) - p_ordered >= sampling.top_p
        dropped[0] = False  # also where rounding says otherwise
        logits_V = logits_V.index_fill(0, order[dropped], -math.inf)
    if sampling.min_p > 0:
        floor = logits_V.max() + math.log(sampling.min_p)
        logits_V = logits_V.masked_fill(logits_V < floor, -math.inf)
    return logits_V
