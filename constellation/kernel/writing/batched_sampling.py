"""Draw the next tokens of all texts of a step, with one transfer out of the device that has them.

Every token is the one that `sampling.pick` draws for the text alone: the same options in the same
order, and the same random numbers, which the processor draws by the seed and the place in the text
and sends to the device. So a text does not depend on the device, nor on which process goes on with
the text. On a processor `pick` itself is called, row by row.

Shapes: R rows, S rows that are drawn at random, C of these that top-k or top-p cut, V tokens, N
numbers that are changed.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from constellation.kernel.writing.sampling import Sampler, likeliest, logprobs_of

NOISE_THREADS: Final = 8
"""Threads that draw random numbers for a device: a row of 32,000 takes half a millisecond."""

Changes = list[NDArray[np.float64]]
"""Blocks of columns (row, token, number)."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The next token of one text."""

    token: int
    logprob: float | None = None
    """Natural logarithm of the token's probability; None unless log-probabilities were asked
    for."""
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens with their log-probabilities, as many as were asked for."""


def draw(logits_RV: Tensor, samplers: Sequence[Sampler | None]) -> list[Drawn | Tensor]:
    """Return the next token of every row.

    Args:
        logits_RV: Float32, on any device; left as they are.
        samplers: Options and earlier tokens of every row; None for a row whose logits are wanted.

    Returns:
        A token for every row with a sampler; for the others their logits on the CPU, shape (V,).
    """
    if logits_RV.device.type == "cpu":
        return _draw_each(logits_RV, samplers)
    return _draw_together(logits_RV, samplers)


def _draw_each(logits_RV: Tensor, samplers: Sequence[Sampler | None]) -> list[Drawn | Tensor]:
    greedy_R = likeliest(logits_RV)
    drawn: list[Drawn | Tensor] = []
    for sampler, logits_V, greedy in zip(samplers, logits_RV, greedy_R, strict=True):
        if sampler is None:
            drawn.append(logits_V)
            continue
        token = greedy if sampler.is_greedy else sampler.pick(logits_V)
        drawn.append(with_logprobs(token, logits_V, sampler))
    return drawn


def with_logprobs(token: int, logits_V: Tensor, sampler: Sampler) -> Drawn:
    """Return a chosen token with the log-probabilities that the sampler's options ask for."""
    num_top = sampler.sampling.logprobs
    if num_top is None:
        return Drawn(token)
    logprob, top = logprobs_of(logits_V, token, num_top)
    return Drawn(token, logprob, tuple(top))


def _draw_together(logits_RV: Tensor, samplers: Sequence[Sampler | None]) -> list[Drawn | Tensor]:
    drawing = [row for row, sampler in enumerate(samplers) if sampler is not None]
    others = [row for row, sampler in enumerate(samplers) if sampler is None]
    of_rows = [sampler for sampler in samplers if sampler is not None]
    parts = []
    if drawing:
        parts.append(_numbers(_rows_of(logits_RV, drawing), of_rows))
    if others:
        parts.append(_rows_of(logits_RV, others))
    here = _brought(parts)
    drawn: dict[int, Drawn | Tensor] = {}
    if drawing:
        each = zip(drawing, of_rows, here[0].tolist(), strict=True)
        drawn = {row: _as_drawn(sampler, numbers) for row, sampler, numbers in each}
    if others:
        drawn |= dict(zip(others, here[-1], strict=True))
    return [drawn[row] for row in range(len(samplers))]


def _as_drawn(sampler: Sampler, numbers: Sequence[float]) -> Drawn:
    """Read a row of `_numbers`."""
    num_top = sampler.sampling.logprobs
    if num_top is None:
        return Drawn(int(numbers[0]))
    half = (len(numbers) - 2) // 2
    top = zip(map(int, numbers[2 : 2 + half]), numbers[2 + half :], strict=True)
    return Drawn(int(numbers[0]), numbers[1], tuple(top)[:num_top])


def _numbers(logits_RV: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    """Return every row's token, and the log-probabilities if any row asks for some; float64.

    With log-probabilities a row is the token, its own, the likeliest tokens, and theirs.
    """
    token_R = _tokens(_changed(logits_RV, samplers), samplers)
    wanted = [s.sampling.logprobs for s in samplers if s.sampling.logprobs is not None]
    if not wanted:
        return token_R.double().unsqueeze(1)
    log_p_RV = logits_RV.double().log_softmax(-1)
    top = log_p_RV.topk(min(max(wanted), log_p_RV.shape[1]))
    token_R1 = token_R.unsqueeze(1)
    chosen_R1 = log_p_RV.gather(1, token_R1)
    return torch.cat((token_R1.double(), chosen_R1, top.indices.double(), top.values), 1)


def _tokens(logits_RV: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    """Return every row's token, int64, given logits that options have changed."""
    random = [row for row, s in enumerate(samplers) if s.sampling.temperature > 0]
    if not random:
        return logits_RV.argmax(-1)
    drawn_S = _drawn(_rows_of(logits_RV, random), [samplers[row] for row in random])
    if len(random) == len(samplers):
        return drawn_S
    index_S = torch.tensor(random, device=logits_RV.device)
    return logits_RV.argmax(-1).index_copy(0, index_S, drawn_S)


def _drawn(logits_SV: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    """Return the tokens of rows that are drawn at random.

    A token is the one with the greatest p / q, where the q are exponential random numbers: the
    tokens then have the probabilities p, and these are the numbers of `torch.multinomial`.
    """
    vocab_size = logits_SV.shape[1]
    sent = torch.empty(len(samplers), vocab_size + 4, dtype=torch.float64)
    sent[:, vocab_size:] = torch.tensor(
        [_limits(each, vocab_size) for each in samplers], dtype=torch.float64
    )
    rows = [row[:vocab_size] for row in sent]
    # Meanwhile the device computes the logits; drawing lets other threads of Python run.
    draws = _threads().map(lambda sampler, row: sampler.fill_noise(row), samplers, rows)
    assert len(list(draws)) == len(rows)
    sent = sent.to(logits_SV.device)
    noise_SV, limits = sent[:, :vocab_size], sent[:, vocab_size:]
    temperature_S1, top_k_S1, top_p_S1, min_p_S1 = torch.split(limits, 1, 1)
    x_SV = (logits_SV - logits_SV.amax(-1, keepdim=True)).double() / temperature_S1
    cut = [row for row, sampler in enumerate(samplers) if _is_cut(sampler, vocab_size)]
    if cut:
        sorts = any(samplers[row].sampling.top_p < 1 for row in cut)
        k_max = max(int(_limits(samplers[row], vocab_size)[1]) for row in cut)
        index = torch.tensor(cut, device=x_SV.device)
        top_k_C1, top_p_C1 = top_k_S1[index].long(), top_p_S1[index]
        if sorts:
            kept_CV = _cut(x_SV[index], top_k_C1, top_p_C1)
        else:
            kept_CV = _of_top_k(x_SV[index], top_k_C1, k_max)
        x_SV = x_SV.index_copy(0, index, kept_CV)
    x_SV = x_SV.masked_fill(x_SV < x_SV.amax(-1, keepdim=True) + min_p_S1, -math.inf)
    return (torch.softmax(x_SV, -1) / noise_SV).argmax(-1)


@cache
def _threads() -> ThreadPoolExecutor:
    """Return threads that draw random numbers; made with the first draw, which is after a fork."""
    return ThreadPoolExecutor(max_workers=NOISE_THREADS, thread_name_prefix="noise")


def _is_cut(sampler: Sampler, vocab_size: int) -> bool:
    top_k = sampler.sampling.top_k
    return sampler.sampling.top_p < 1 or (top_k is not None and top_k < vocab_size)


def _limits(sampler: Sampler, vocab_size: int) -> tuple[float, float, float, float]:
    """Return temperature, top-k, top-p and the logarithm of min-p; numbers that change nothing."""
    options = sampler.sampling
    top_k = vocab_size if options.top_k is None else min(options.top_k, vocab_size)
    top_p = options.top_p if options.top_p < 1 else math.inf
    log_min_p = math.log(options.min_p) if options.min_p > 0 else -math.inf
    return options.temperature, top_k, top_p, log_min_p


def _of_top_k(x_CV: Tensor, top_k_C1: Tensor, k_max: int) -> Tensor:
    """Return the rows with tokens that top-k excludes set to -inf, without sorting all tokens."""
    least_C1 = x_CV.topk(k_max).values.gather(1, top_k_C1 - 1)
    return x_CV.masked_fill(x_CV < least_C1, -math.inf)


def _cut(x_CV: Tensor, top_k_C1: Tensor, top_p_C1: Tensor) -> Tensor:
    """Return the rows with tokens that top-k or top-p exclude set to -inf."""
    ordered, order = x_CV.sort(dim=-1, descending=True, stable=True)
    least_C1 = ordered.gather(1, top_k_C1 - 1)
    ordered = ordered.masked_fill(ordered < least_C1, -math.inf)
    p_ordered = torch.softmax(ordered, -1)
    dropped = p_ordered.cumsum(-1) - p_ordered >= top_p_C1
    dropped[:, 0] = False
    dropped = torch.zeros_like(dropped).scatter(1, order, dropped)
    return x_CV.masked_fill(dropped | (x_CV < least_C1), -math.inf)


def _changed(logits_RV: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    """Return the logits after bias, penalties and the end token held back, as `pick` has them."""
    kinds = [_biases(samplers), _penalties(samplers), _lowerings(samplers), _barred(samplers)]
    sizes = [sum(block.shape[1] for block in blocks) for blocks in kinds]
    if not any(sizes):
        return logits_RV
    blocks = [block for blocks in kinds for block in blocks]
    sent_3N = torch.from_numpy(np.concatenate(blocks, 1)).to(logits_RV.device)
    changed_RV = logits_RV.clone()
    bias, penalty, lowering, barred = torch.split(sent_3N, sizes, 1)
    if sizes[0]:
        changed_RV.index_put_(_places(bias), bias[2].float(), accumulate=True)
    if sizes[1]:
        picked_N, penalty_N = changed_RV[_places(penalty)], penalty[2].float()
        weighed_N = torch.where(picked_N > 0, picked_N / penalty_N, picked_N * penalty_N)
        changed_RV.index_put_(_places(penalty), weighed_N)
    if sizes[2]:
        changed_RV.index_put_(_places(lowering), lowering[2].float(), accumulate=True)
    if sizes[3]:
        changed_RV.index_put_(_places(barred), barred[2].float())
    return changed_RV


def _places(changes_3N: Tensor) -> tuple[Tensor, Tensor]:
    return changes_3N[0].long(), changes_3N[1].long()


def _biases(samplers: Sequence[Sampler]) -> Changes:
    return [
        _block(row, list(bias), list(bias.values()))
        for row, sampler in enumerate(samplers)
        if (bias := sampler.sampling.logit_bias)
    ]


def _penalties(samplers: Sequence[Sampler]) -> Changes:
    return [
        _block(row, sorted(sampler.seen), sampler.sampling.repetition_penalty)
        for row, sampler in enumerate(samplers)
        if sampler.sampling.repetition_penalty != 1.0 and sampler.seen
    ]


def _lowerings(samplers: Sequence[Sampler]) -> Changes:
    changes = []
    for row, sampler in enumerate(samplers):
        options, written = sampler.sampling, sampler.written
        if not written or not (options.presence_penalty or options.frequency_penalty):
            continue
        # In float32 and in this order, as `pick` adds them.
        counts_N = np.array(list(written.values()), dtype=np.float32)
        each_N = np.float32(options.frequency_penalty) * counts_N
        changes.append(_block(row, list(written), -(each_N + np.float32(options.presence_penalty))))
    return changes


def _barred(samplers: Sequence[Sampler]) -> Changes:
    return [
        _block(row, sampler.barred, -math.inf)
        for row, sampler in enumerate(samplers)
        if sampler.barred
    ]


def _block(
    row: int, tokens: Sequence[int], numbers: "float | Sequence[float] | NDArray[np.float32]"
) -> NDArray[np.float64]:
    block = np.empty((3, len(tokens)), dtype=np.float64)
    block[0], block[1], block[2] = row, tokens, numbers
    return block


def _rows_of(x_RV: Tensor, rows: list[int]) -> Tensor:
    if len(rows) == len(x_RV):
        return x_RV
    return x_RV.index_select(0, torch.tensor(rows, device=x_RV.device))


def _brought(parts: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors on the CPU, moved there at once; the widest numbers come first."""
    if len(parts) == 1:
        return [parts[0].cpu()]
    raw = [part.contiguous().view(-1).view(torch.uint8) for part in parts]
    whole = torch.cat(raw).cpu()
    pieces = torch.split(whole, [len(piece) for piece in raw])
    return [
        piece.view(part.dtype).view(part.shape) for piece, part in zip(pieces, parts, strict=True)
    ]
