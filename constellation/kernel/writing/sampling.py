"""Draw the next token from logits: temperature, top-k, top-p, penalties, seeds.

Order: logit bias, repetition penalty, presence and frequency penalties, the end token held back,
temperature, top-k, top-p, min-p. Randomness comes from a generator passed in, so the same seed
draws the same tokens. What a `Sampler` draws depends on the seed and on how many tokens were
written, not on which kernel drew those: another kernel that continues a reply draws as the first
would have. Shapes: R rows, V tokens.

Source: the finaliser of SplitMix64, Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from constellation.errors import InvalidPrompt, InvalidRequest
from constellation.records import Sampling


class Sampler:
    """Draws the tokens of one sequence: its options, its random numbers, its earlier tokens.

    Args:
        sampling: Options of the draws.
        prompt_ids: Tokens of the prompt.
        end_id: The token that ends a text; None without such a token.
        vocab_size: V.
        other_ends: Tokens that end a text too.

    Raises:
        InvalidRequest: If a token of the prompt or of the bias is not in the vocabulary.
    """

    def __init__(
        self,
        sampling: Sampling,
        prompt_ids: Sequence[int],
        end_id: int | None,
        vocab_size: int,
        *,
        other_ends: Sequence[int] = (),
    ) -> None:
        _check_tokens("prompt_ids", prompt_ids, vocab_size)
        _check_tokens("logit_bias", sampling.logit_bias, vocab_size)
        self.sampling = sampling
        self._generator = generator_for(sampling)
        self._seed = self._generator.initial_seed()
        self._ends = other_ends if end_id is None else (end_id, *other_ends)
        self._vocab_size = vocab_size
        self._seen = set(prompt_ids)
        self._written: Counter[int] = Counter()
        self._num_written = 0
        changes = sampling.presence_penalty or sampling.frequency_penalty or sampling.logit_bias
        self._is_plain = not changes and sampling.repetition_penalty == 1.0

    @property
    def is_greedy(self) -> bool:
        """Whether the next token is always the one with the highest logit."""
        return self._is_plain and self.sampling.temperature == 0 and not self._holds_end()

    @property
    def seen(self) -> Collection[int]:
        """Tokens that the repetition penalty weighs down."""
        return self._seen

    @property
    def written(self) -> Mapping[int, int]:
        """How often each token was written; counted only where an option needs the counts."""
        return self._written

    @property
    def barred(self) -> Sequence[int]:
        """Tokens that the next draw must not return."""
        return self._ends if self._holds_end() else ()

    def pick(self, logits_V: Tensor) -> int:
        """Draw one token; the logits are not changed."""
        if self.sampling.temperature > 0:
            self._begin_draw()
        if self._is_plain and not self._holds_end():
            return pick(logits_V, self.sampling, generator=self._generator)
        return pick(
            logits_V,
            self.sampling,
            generator=self._generator,
            seen=self._seen,
            written=self._written,
            barred=self.barred,
        )

    @torch.inference_mode()
    def fill_noise(self, noise_V: Tensor) -> None:
        """Fill a tensor on the CPU, float64, with the random numbers of the next draw.

        Any thread may do that: inference mode, in which the tensor may have been made, is each
        thread's own.

        `torch.multinomial` draws the same numbers from the same generator, and returns the index
        of the greatest p / noise.
        """
        self._begin_draw()
        noise_V.exponential_(1, generator=self._generator)

    def _begin_draw(self) -> None:
        self._generator.manual_seed(_mixed(self._seed, self._num_written))

    def note(self, token: int) -> None:
        """Record a token that was written."""
        self._num_written += 1
        if not self._is_plain:
            self._seen.add(token)
            self._written[token] += 1

    def resume(self, tokens: Sequence[int]) -> None:
        """Record tokens of the sequence that another kernel wrote.

        Raises:
            InvalidRequest: If one is not in the vocabulary.
        """
        _check_tokens("produced", tokens, self._vocab_size)
        for token in tokens:
            self.note(token)

    def _holds_end(self) -> bool:
        return self._num_written < self.sampling.tokens_min and bool(self._ends)


def _mixed(seed: int, position: int) -> int:
    """Return a number of 64 bits that looks unrelated to those of other seeds and positions."""
    mixed = (seed + (position + 1) * 0x9E3779B97F4A7C15) % 2**64
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
    return mixed ^ (mixed >> 31)


def generator_for(sampling: Sampling) -> torch.Generator:
    """Return a new random number generator for one sequence."""
    generator = torch.Generator()
    if sampling.seed is None:
        generator.seed()
    else:
        generator.manual_seed(sampling.seed)
    return generator


def pick(
    logits_V: Tensor,
    sampling: Sampling,
    *,
    generator: torch.Generator,
    seen: Iterable[int] = (),
    written: Mapping[int, int] | None = None,
    barred: Sequence[int] = (),
) -> int:
    """Draw one token.

    Args:
        logits_V: Unnormalised log-probabilities; left as they are.
        sampling: Options of the draw.
        generator: Advanced by one draw, or not at all at temperature 0.
        seen: Tokens that the repetition penalty weighs down.
        written: How often tokens were written, for the presence and frequency penalties.
        barred: Tokens that are not drawn.

    Returns:
        The token's index. At temperature 0 ties go to the lowest index.
    """
    logits_V = _biased(logits_V.float(), sampling.logit_bias)
    logits_V = _penalised(logits_V, sampling.repetition_penalty, seen)
    logits_V = _lowered(logits_V, sampling, written or {})
    if barred:
        index = torch.tensor(barred, device=logits_V.device)
        logits_V = logits_V.index_fill(0, index, -math.inf)
    if sampling.temperature == 0:
        return likeliest(logits_V.unsqueeze(0))[0]
    # Double precision, the maximum taken off: a tiny temperature must not become 0 or overflow.
    logits_V = (logits_V - logits_V.max()).double() / sampling.temperature
    p_V = torch.softmax(_kept(logits_V, sampling), -1).cpu()
    return int(torch.multinomial(p_V, 1, generator=generator))


def likeliest(logits_RV: Tensor) -> list[int]:
    """Return the index of each row's highest logit, float32; of equal ones the lowest."""
    if logits_RV.device.type == "cpu":  # numpy searches at the speed of memory, torch far from it
        return cast(list[int], logits_RV.detach().numpy().argmax(-1).tolist())
    return cast(list[int], logits_RV.argmax(-1).tolist())


def logprobs_of(
    logits_V: Tensor, token: int, num_top: int
) -> tuple[float, list[tuple[int, float]]]:
    """Return the natural log-probability of a token, and the likeliest tokens with theirs.

    Of the distribution that the logits stand for, without any option of a draw. Among equally
    likely tokens the order is open.
    """
    log_p_V = logits_V.double().log_softmax(-1)
    values, indices = log_p_V.topk(min(num_top, len(log_p_V)))
    return float(log_p_V[token]), list(zip(indices.tolist(), values.tolist(), strict=True))


def check_prompt(prompt_ids: Sequence[int], context: int) -> None:
    """Raise `InvalidPrompt` when the prompt is empty or longer than the context."""
    if not 1 <= len(prompt_ids) <= context:
        raise InvalidPrompt(length=len(prompt_ids), limit=context)


def _check_tokens(field: str, tokens: Collection[int], vocab_size: int) -> None:
    if tokens and not 0 <= min(tokens) <= max(tokens) < vocab_size:
        value = next(token for token in tokens if not 0 <= token < vocab_size)
        raise InvalidRequest(field, int(value), f"token ids 0 to {vocab_size - 1}")


def _biased(logits_V: Tensor, bias: Mapping[int, float]) -> Tensor:
    if not bias:
        return logits_V
    index = torch.tensor(list(bias), device=logits_V.device)
    return logits_V.index_add(0, index, logits_V.new_tensor(list(bias.values())))


def _penalised(logits_V: Tensor, penalty: float, seen: Iterable[int]) -> Tensor:
    if penalty == 1.0:
        return logits_V
    index = torch.tensor(sorted(set(seen)), dtype=torch.int64, device=logits_V.device)
    picked = logits_V[index]
    return logits_V.index_put((index,), torch.where(picked > 0, picked / penalty, picked * penalty))


def _lowered(logits_V: Tensor, sampling: Sampling, written: Mapping[int, int]) -> Tensor:
    if not written or not (sampling.presence_penalty or sampling.frequency_penalty):
        return logits_V
    index = torch.tensor(list(written), device=logits_V.device)
    counts = logits_V.new_tensor(list(written.values()))
    lowering = sampling.presence_penalty + sampling.frequency_penalty * counts
    return logits_V.index_add(0, index, -lowering)


def _kept(logits_V: Tensor, sampling: Sampling) -> Tensor:
    """Return the logits, with tokens that top-k, top-p or min-p exclude set to -inf."""
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
