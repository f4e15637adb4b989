"""Generate many texts at once: each forward pass gives every text of the batch its next token.

Texts join and leave between steps. A prompt is read in pieces, so that a long one does not hold up
the texts that are being written, and its beginning is copied where it was read before. A `Batch` is
driven from outside by one thread; it knows no clock and no network.

Every text is what `constellation.kernel.writing.generation.Generation` would write alone: tests
compare them token by token. Products of several rows are summed in another order than those of one,
so logits differ by rounding: by at most 2e-4 at logits of up to 13 on the kernels of the tests,
whose large weights magnify it. Two tokens closer to each other than that could change places.

Shapes: B rows of a forward pass, T tokens, C channels, V tokens of the vocabulary, R rows to draw
for.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from constellation.errors import ConfigError
from constellation.kernel.network.slots import SlotCache, SlotRows
from constellation.kernel.writing.batched_sampling import Drawn, draw
from constellation.kernel.writing.network_interface import Network
from constellation.kernel.writing.prefix_cache import PrefixStore
from constellation.kernel.writing.recorded_steps import Record, RecordedSteps, recordable
from constellation.kernel.writing.sampling import Sampler, check_prompt
from constellation.records import FinishReason, Sampling

logger = logging.getLogger(__name__)

PREFILL_TOKENS = 128
"""Prompt tokens read in one step in addition to the tokens that are written."""


@dataclass(slots=True, eq=False)
class Writing:
    """One text of a batch that is being written."""

    prompt_ids: list[int]
    sampler: Sampler
    row: int | None
    """Row of the cache with its keys and values; None when the text has left the batch."""
    unread: list[int]
    """Tokens that are not in the cache yet: those of the prompt, later the newest token."""
    produced: list[int] = field(default_factory=list)
    """Tokens written so far, without the end token."""
    finish_reason: FinishReason | None = None
    """END, LENGTH or CONTEXT; None while the text is unfinished."""
    kernel: int = 0
    """Index of the kernel that writes the text, in a batch of several kernels."""

    def accept(self, drawn: Drawn, *, end_id: int | None, context: int) -> "Written":
        """Append the chosen token; sets `finish_reason` when it is the last.

        Args:
            drawn: The choice, which may be `end_id`.
            end_id: The token that ends a text; None without such a token.
            context: Tokens that can be read and written together, but for the last one written.
        """
        token = drawn.token
        if token == end_id:
            self.finish_reason = FinishReason.END
            return Written(self, None)
        self.produced.append(token)
        self.sampler.note(token)
        self.unread = [token]
        sampling = self.sampler.sampling
        if len(self.produced) == sampling.tokens_max:
            self.finish_reason = FinishReason.LENGTH
        elif len(self.prompt_ids) + len(self.produced) > context:
            self.finish_reason = FinishReason.CONTEXT
        return Written(self, token, drawn.logprob, drawn.top)


@dataclass(slots=True, eq=False)
class Prediction(Writing):
    """A text whose tokens are chosen by the caller: it pauses until `tell` gives the next token."""

    is_scored: bool = False
    """Whether `prompt_nats` is computed; the prompt is then read from its beginning."""
    prompt_nats: list[float] = field(default_factory=list)
    """-ln p of each token of the prompt but the first, which no token precedes."""

    def tell(self, token: int) -> None:
        """Append the token that the caller chose; it is read in the next step."""
        self.produced.append(token)
        self.unread = [token]


@dataclass(frozen=True, slots=True)
class Written:
    """Result of one step for one text."""

    writing: Writing
    token: int | None
    """The new token; None when the text ended with the end token."""
    logprob: float | None = None
    """Natural logarithm of the token's probability; None unless log-probabilities were asked
    for."""
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens with their log-probabilities, as many as were asked for."""
    logits_V: Tensor | None = None
    """For a prediction: logits from which the caller chooses the next token, float32."""


class Batch:
    """Texts that one kernel writes together, one forward pass per step.

    Args:
        decoder: The kernel.
        end_id: The token that ends a text; None without such a token.
        prefill_tokens: Prompt tokens read in one step, at least 1.
        prefixes: Cache of prompts that were read; None caches none.
        planned_rows: Texts whose keys and values get their memory with the first text, for the
            whole context; None lets the memory grow with the texts.
        record: Records the steps of new tokens, for a network that is `recordable`; None records
            none. The memory must be planned.
    """

    def __init__(
        self,
        decoder: Network,
        *,
        end_id: int | None,
        prefill_tokens: int = PREFILL_TOKENS,
        prefixes: PrefixStore | None = None,
        planned_rows: int | None = None,
        record: Record | None = None,
    ) -> None:
        if prefill_tokens < 1:
            raise ConfigError(f"prefill_tokens is {prefill_tokens}; allowed: from 1")
        self._decoder = decoder
        self._end_id = end_id
        self._prefill_tokens = prefill_tokens
        self._prefixes = prefixes
        self._writings: list[Writing] = []
        weight = decoder.embedding
        dtype, device = weight.dtype, weight.device
        self._slots = SlotCache(
            decoder.config, dtype=dtype, device=device, planned_rows=planned_rows
        )
        self._recorded: RecordedSteps | None = None
        if record is not None and (fixed := recordable(decoder)) is not None:
            self._recorded = RecordedSteps(fixed, self._slots, record)

    def __len__(self) -> int:
        return len(self._writings)

    def plan_rows(self, num_more: int) -> None:
        """Plan memory for more texts, when the memory is planned."""
        if self._slots.planned_rows is not None:
            self._slots.planned_rows += num_more

    @property
    def cache_bytes(self) -> int:
        """Present size of the storage of keys and values in bytes."""
        return self._slots.size_bytes

    @torch.inference_mode()
    def add(
        self,
        prompt_ids: Sequence[int],
        sampling: Sampling,
        produced: Sequence[int] = (),
        *,
        kernel: int = 0,
    ) -> Writing:
        """Add a text; it is read and written from the next step on.

        Args:
            prompt_ids: Tokens of the prompt, 1 to the kernel's context.
            sampling: Options of the draws.
            produced: What another kernel has written of the text, prompt left out. It is read
                with the prompt and counts as if it had been written here.
            kernel: Index of the kernel that writes it, in a batch of several kernels.

        Raises:
            InvalidPrompt: If the prompt is empty, or longer than the context with `produced`.
            InvalidRequest: If a token is not in the vocabulary.
        """
        prompt, sampler = self._checked(prompt_ids, sampling)
        before = [int(token) for token in produced]
        check_prompt([*prompt, *before], self._decoder.config.context)
        sampler.resume(before)
        row = self._slots.open()
        writing = Writing(prompt, sampler, row, [*prompt, *before], before, kernel=kernel)
        self._writings.append(writing)
        return writing

    @torch.inference_mode()
    def predict(
        self, prompt_ids: Sequence[int], *, is_scored: bool = False, kernel: int = 0
    ) -> Prediction:
        """Add a text whose tokens are chosen by the caller.

        After each step that read all of the text's tokens, `Written.logits_V` holds the logits of
        the next token, and the text takes part in no step until `Prediction.tell`. A text that has
        filled the context leaves the batch with that step.

        Scoring the prompt (`is_scored`) costs a product with the vocabulary for each of its tokens.
        Other arguments are those of `add`.

        Raises:
            InvalidPrompt: If the prompt is empty or longer than the context.
            InvalidRequest: If a token is not in the vocabulary.
        """
        prompt, sampler = self._checked(prompt_ids, Sampling())
        prediction = Prediction(
            prompt, sampler, self._slots.open(), list(prompt), is_scored=is_scored, kernel=kernel
        )
        self._writings.append(prediction)
        return prediction

    def _checked(self, prompt_ids: Sequence[int], sampling: Sampling) -> tuple[list[int], Sampler]:
        config = self._decoder.config
        prompt = [int(token) for token in prompt_ids]
        check_prompt(prompt, config.context)
        return prompt, Sampler(sampling, prompt, self._end_id, config.vocab_size)

    @torch.inference_mode()
    def remove(self, writing: Writing) -> None:
        """Remove a text, finished or not; removing it again has no effect."""
        row = writing.row
        if row is None:
            return
        self._slots.close(row)
        last = self._writings.pop()
        if last is not writing:
            self._writings[row], last.row = last, row
        writing.row = None

    @torch.inference_mode()
    def step(self, writings: Iterable[Writing] | None = None) -> list[Written]:
        """Write the next token of every text whose prompt is read; ended texts leave the batch.

        Args:
            writings: Texts that take part; the others are not changed. None takes all.

        Returns:
            In no particular order; texts whose prompt is not read to its end are left out.
        """
        taking_part = self._writings if writings is None else writings
        present = [writing for writing in taking_part if writing.row is not None]
        unread = [writing for writing in present if len(writing.unread) > 1]
        ready = [writing for writing in present if len(writing.unread) == 1]
        ready, hidden = self._read_one_each(ready) if ready else ([], [])
        for writing, hidden_C in self._read_prompts(unread):
            ready.append(writing)
            hidden.append(hidden_C)
        return self._draw(ready, torch.stack(hidden)) if ready else []

    def _read_one_each(self, ready: list[Writing]) -> tuple[list[Writing], list[Tensor]]:
        """Read the newest token of every text in one forward pass."""
        rows = {writing.row: writing for writing in ready if writing.row is not None}
        hidden = self._replayed(rows) or self._computed(rows)
        for writing in ready:
            if not writing.produced:
                self._keep_prompt(writing)
        return list(rows.values()), hidden

    def _replayed(self, rows: dict[int, Writing]) -> list[Tensor]:
        """Read by recorded steps; return nothing when there are none."""
        if self._recorded is None:
            return []
        reading = {row: (each.unread[0], each.kernel) for row, each in rows.items()}
        try:
            return self._recorded.read(reading)
        except RuntimeError:  # whatever an operator says that cannot be recorded
            logger.exception("steps are not recorded")
            self._recorded = None
            return []

    def _computed(self, rows: dict[int, Writing]) -> list[Tensor]:
        first, stop = min(rows), max(rows) + 1
        # Rows between them that do not take part read a token that is not kept.
        tokens_BT = [rows[row].unread if row in rows else [0] for row in range(first, stop)]
        view = self._slots.rows(first, stop, frozenset(rows))
        kernels = [rows.get(row, rows[first]).kernel for row in range(first, stop)]
        hidden_BTC = self._hidden(self._tensor(tokens_BT), view, kernels)
        return [hidden_BTC[row - first, 0] for row in rows]

    def _read_prompts(self, unread: list[Writing]) -> list[tuple[Writing, Tensor]]:
        """Read the next part of the prompts; return those read to the end with their last state."""
        for writing in unread:
            self._reuse(writing)
        done = []
        budget = self._prefill_tokens
        while unread and budget:
            together = self._readable_together(unread)[:budget]
            shortest = min(len(writing.unread) for writing in together)
            num_new = min(shortest, budget // len(together))
            hidden_BTC = self._read(together, num_new)
            budget -= num_new * len(together)
            for writing, hidden_TC in zip(together, hidden_BTC, strict=True):
                if isinstance(writing, Prediction) and writing.is_scored:
                    self._score(writing, hidden_TC)
                if not writing.unread:
                    self._keep_prompt(writing)
                    done.append((writing, hidden_TC[-1]))
            unread = [writing for writing in unread if writing.unread]
        return done

    def _readable_together(self, unread: list[Writing]) -> list[Writing]:
        """Return the first text and those in the following rows that are equally far."""
        by_row = {writing.row: writing for writing in unread}
        row = unread[0].row
        assert row is not None
        lengths, together = self._slots.lengths, [unread[0]]
        while (after := by_row.get(row + len(together))) is not None:
            if lengths[row + len(together)] != lengths[row]:
                break
            together.append(after)
        return together

    def _read(self, together: list[Writing], num_new: int) -> Tensor:
        """Read the next tokens of prompts in neighbouring rows that are equally far."""
        row = together[0].row
        assert row is not None
        pieces = [writing.unread[:num_new] for writing in together]
        view = self._slots.rows(row, row + len(together))
        kernels = [writing.kernel for writing in together]
        hidden_BTC = self._hidden(self._tensor(pieces), view, kernels)
        for writing in together:
            del writing.unread[:num_new]
        return hidden_BTC

    def _reuse(self, writing: Writing) -> None:
        """Copy the cached beginning of a prompt of which nothing was read yet."""
        row = writing.row
        if self._prefixes is None or row is None or self._slots.lengths[row]:
            return
        if isinstance(writing, Prediction) and writing.is_scored:
            return
        held_P2HLD = self._prefixes.longest(writing.prompt_ids, kernel=writing.kernel)
        if held_P2HLD is not None:
            self._slots.copy_in(row, held_P2HLD)
            del writing.unread[: held_P2HLD.shape[3]]

    def _score(self, prediction: Prediction, hidden_TC: Tensor) -> None:
        """Store the nats of the prompt's tokens that follow those just read."""
        stop = len(prediction.prompt_ids) - len(prediction.unread) + 1
        following = prediction.prompt_ids[stop - len(hidden_TC) : stop]
        if following:
            kernels = [prediction.kernel] * len(following)
            logits_TV = self._logits(hidden_TC[: len(following)], kernels).double()
            target_T = torch.tensor(following, device=logits_TV.device)
            nats_T = functional.cross_entropy(logits_TV, target_T, reduction="none")
            prediction.prompt_nats += nats_T.tolist()

    def _keep_prompt(self, writing: Writing) -> None:
        row = writing.row
        if self._prefixes is not None and row is not None:
            read = [*writing.prompt_ids, *writing.produced]
            copy = partial(self._slots.copy_out, row)
            self._prefixes.keep(read, copy, kernel=writing.kernel)

    def _draw(self, ready: list[Writing], hidden_RC: Tensor) -> list[Written]:
        """Draw the next token of every text."""
        logits_RV = self._logits(hidden_RC, [writing.kernel for writing in ready]).float()
        samplers = [None if isinstance(each, Prediction) else each.sampler for each in ready]
        drawn = draw(logits_RV, samplers)
        return [self._taken(writing, each) for writing, each in zip(ready, drawn, strict=True)]

    def _taken(self, writing: Writing, drawn: Drawn | Tensor) -> Written:
        if isinstance(drawn, Drawn):
            return self._accept(writing, drawn)
        assert isinstance(writing, Prediction)
        writing.unread = []  # pauses until `Prediction.tell`
        self._remove_full(writing)
        return Written(writing, None, logits_V=drawn)

    def _remove_full(self, prediction: Prediction) -> None:
        """Remove a prediction that has filled the context; it would leave other texts no room."""
        row = prediction.row
        if row is not None and self._slots.lengths[row] == self._slots.context:
            self.remove(prediction)

    def _accept(self, writing: Writing, drawn: Drawn) -> Written:
        taken = writing.accept(drawn, end_id=self._end_id, context=self._slots.context)
        if writing.finish_reason is not None:
            self.remove(writing)
        return taken

    def _hidden(self, tokens_BT: Tensor, view: SlotRows, kernels: Sequence[int]) -> Tensor:
        """Return the final hidden states of rows, each read by its own kernel."""
        return self._decoder.hidden(tokens_BT, view)

    def _logits(self, hidden_RC: Tensor, kernels: Sequence[int]) -> Tensor:
        """Return the logits of hidden states, each by its own kernel."""
        return self._decoder.logits(hidden_RC)

    def _tensor(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor(tokens, dtype=torch.int64, device=self._decoder.embedding.device)
