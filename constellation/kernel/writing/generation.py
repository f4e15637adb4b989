"""The plain generation loop for one text: token by token, with a KV cache. The reference path.

A `Generation` is one sequence, driven by its caller, one token per `step`, which may stop at any
time. `constellation.kernel.writing.batch` writes many sequences at once, with the same result.
This file knows no clock, thread or network.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch

from constellation.kernel.network.cache import KVCache
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.recursion import Depths
from constellation.kernel.writing.sampling import Sampler, check_prompt
from constellation.records import Sampling

FinishReason = Literal["end", "length", "context"]


class Generation:
    """One text that is being written.

    Attributes:
        produced: Token ids written so far, the end token left out.
        finish_reason: None while unfinished; "end" (the end token was drawn), "length"
            (`tokens_max` were written) or "context" (the kernel cannot read any further).

    Args:
        decoder: The kernel; it may serve any number of generations in turn.
        prompt_ids: Tokens of the prompt, 1 to the kernel's context.
        sampling: Options of the draw.
        end_id: The token that ends a text; None without such a token.

    Raises:
        InvalidPrompt: If the prompt is empty or longer than the context.
        InvalidRequest: If a prompt token is not in the vocabulary.
    """

    def __init__(
        self, decoder: Decoder, prompt_ids: Sequence[int], sampling: Sampling, end_id: int | None
    ) -> None:
        config = decoder.config
        check_prompt(prompt_ids, config.context)
        self.produced: list[int] = []
        self.finish_reason: FinishReason | None = None
        self._decoder = decoder
        self._end_id = end_id
        self._depths = Depths()
        self._unread = [int(token) for token in prompt_ids]
        self._sampler = Sampler(sampling, self._unread, end_id, config.vocab_size)
        self._cache = KVCache(
            config,
            dtype=decoder.embedding.dtype,
            capacity=len(prompt_ids) + sampling.tokens_max - 1,
            device=decoder.embedding.device,
        )

    @property
    def finished(self) -> bool:
        """Whether the text has ended."""
        return self.finish_reason is not None

    @property
    def mean_depth(self) -> float | None:
        """Mean passes of the tokens read so far through recurrent layers; None without any."""
        return self._depths.mean

    @torch.inference_mode()
    def step(self) -> int | None:
        """Return the next token; None once the text has ended.

        The first step reads the whole prompt, later ones a single token each.
        """
        if self.finished:
            return None
        device = self._decoder.embedding.device
        tokens_BT = torch.tensor([self._unread], dtype=torch.int64, device=device)
        # Only the last position's logits are needed: the prompt's others would cost T x V.
        hidden_BTC = self._decoder.hidden(tokens_BT, self._cache, depths=self._depths)
        logits_V = self._decoder.logits(hidden_BTC[0, -1])
        return self._accept(self._sampler.pick(logits_V))

    def _accept(self, token: int) -> int | None:
        if token == self._end_id:
            self.finish_reason = "end"
            return None
        self.produced.append(token)
        self._sampler.note(token)
        self._unread = [token]
        if len(self.produced) == self._sampler.sampling.tokens_max:
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
