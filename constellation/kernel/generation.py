"""Writing text token by token, with the keys and values of what was read kept in a cache.

A `Generation` is one sequence. It is driven from outside, one token per `step`, so that an actor
can interleave several and cancel one by dropping it. It knows no clock, thread or network.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch

from constellation.errors import InvalidPrompt, InvalidRequest
from constellation.kernel.cache import KVCache
from constellation.kernel.decoder import Decoder
from constellation.kernel.recursion import Depths
from constellation.kernel.sampling import generator_for, pick
from constellation.records import Sampling

FinishReason = Literal["end", "length", "context"]


class Generation:
    """One sequence being written.

    Attributes:
        produced: Token ids written so far, the end token left out.
        finish_reason: None while unfinished; "end" (the end token was drawn), "length"
            (`tokens_max` were written) or "context" (the kernel cannot read any further).

    Args:
        decoder: The kernel; it may serve any number of generations in turn.
        prompt_ids: Tokens to go on from, 1 to the kernel's context.
        sampling: Options of the draw.
        end_id: The token that ends a text; None if there is none.

    Raises:
        InvalidPrompt: If the prompt is empty or longer than the context.
        InvalidRequest: If a prompt token is not in the vocabulary.
    """

    def __init__(
        self, decoder: Decoder, prompt_ids: Sequence[int], sampling: Sampling, end_id: int | None
    ) -> None:
        config = decoder.config
        _check_prompt(prompt_ids, config.vocab_size, config.context)
        self.produced: list[int] = []
        self.finish_reason: FinishReason | None = None
        self._decoder = decoder
        self._sampling = sampling
        self._end_id = end_id
        self._generator = generator_for(sampling)
        self._depths = Depths()
        self._seen = {int(token) for token in prompt_ids}
        self._unread = [int(token) for token in prompt_ids]
        self._cache = KVCache(
            config,
            dtype=decoder.embedding.dtype,
            capacity=len(prompt_ids) + sampling.tokens_max - 1,
            device=decoder.embedding.device,
        )

    @property
    def finished(self) -> bool:
        """Whether no further token will come."""
        return self.finish_reason is not None

    @property
    def mean_depth(self) -> float | None:
        """Mean passes of the tokens read so far through recurrent layers; None without any."""
        return self._depths.mean

    @torch.inference_mode()
    def step(self) -> int | None:
        """Return the next token; None when the text has ended, then and ever after.

        The first step reads the whole prompt, later ones a single token each.
        """
        if self.finished:
            return None
        device = self._decoder.embedding.device
        tokens_BT = torch.tensor([self._unread], dtype=torch.int64, device=device)
        # Only the last position's logits are needed: the prompt's others would cost T x V.
        hidden_BTC = self._decoder.hidden(tokens_BT, self._cache, depths=self._depths)
        logits_V = self._decoder.logits(hidden_BTC[0, -1])
        token = pick(logits_V, self._sampling, generator=self._generator, seen=self._seen)
        return self._accept(token)

    def _accept(self, token: int) -> int | None:
        if token == self._end_id:
            self.finish_reason = "end"
            return None
        self.produced.append(token)
        self._seen.add(token)
        self._unread = [token]
        if len(self.produced) == self._sampling.tokens_max:
            self.finish_reason = "length"
        elif self._cache.length == self._decoder.config.context:
            self.finish_reason = "context"
        return token


def generate(
    decoder: Decoder, prompt_ids: Sequence[int], sampling: Sampling, end_id: int | None
) -> Iterator[int]:
    """Yield the tokens of one `Generation` as they are drawn."""
    generation = Generation(decoder, prompt_ids, sampling, end_id)
    while (token := generation.step()) is not None:
        yield token


def _check_prompt(prompt_ids: Sequence[int], vocab_size: int, context: int) -> None:
    if not 1 <= len(prompt_ids) <= context:
        raise InvalidPrompt(length=len(prompt_ids), limit=context)
    if not 0 <= min(prompt_ids) <= max(prompt_ids) < vocab_size:
        value = next(token for token in prompt_ids if not 0 <= token < vocab_size)
        raise InvalidRequest("prompt_ids", int(value), f"token ids 0 to {vocab_size - 1}")
