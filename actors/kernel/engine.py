"""KernelEngine: a trained kernel as a host drives it, one token of every answer per step."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import torch

from actors.kernel.engine_interface import Step
from constellation.coordizer.encoding import Encoder
from constellation.coordizer.text_stream import TextStream
from constellation.coordizer.vocabulary import END_ID, Vocabulary
from constellation.errors import InvalidPrompt, InvalidRequest
from constellation.kernel.files.checkpoint import LoadedKernel
from constellation.kernel.files.prompt_format import PromptFormat
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.observables.kappa import kappa_learned
from constellation.kernel.writing.batch import PREFILL_TOKENS, Batch, Prediction, Writing, Written
from constellation.kernel.writing.batched_sampling import with_logprobs
from constellation.kernel.writing.fast_products import Weights, prepare
from constellation.kernel.writing.network_interface import Network
from constellation.kernel.writing.prefix_cache import PrefixStore
from constellation.kernel.writing.recorded_steps import Record
from constellation.kernel.writing.sampling import Sampler
from constellation.kernel.writing.scoring import token_nats
from constellation.kernel.writing.stacked_batch import StackedBatch
from constellation.kernel.writing.stop_strings import StopStrings
from constellation.records import (
    COORDIZER_TOKENS,
    EVERYTHING,
    Alternative,
    FinishReason,
    FloatArray,
    Message,
    Sampling,
    Score,
    TokenLogprob,
)
from constellation.wire.ensembles import Predicted


class KernelAnswer:
    """One answer being written: its tokens as text that ends before a stop string."""

    def __init__(self, writing: Writing, token_bytes: Sequence[bytes]) -> None:
        self.num_prompt_tokens = len(writing.prompt_ids)
        self.writing = writing
        self._token_bytes = token_bytes
        self._stream = TextStream(token_bytes.__getitem__)
        self._stops = StopStrings(writing.sampler.sampling.stop)
        for token in writing.produced:  # another kernel's; their text has been sent
            self._stops.feed(self._stream.feed(token))

    def take(self, written: Written) -> Step:
        """Return the step that a token makes; text comes in whole code points."""
        text = "" if written.token is None else self._stream.feed(written.token)
        reason = self.writing.finish_reason
        if reason is not None:
            text += self._stream.flush()
        text = self._stops.feed(text)
        if self._stops.stopped:
            reason = FinishReason.STOP
        elif reason is not None:
            text += self._stops.flush()
        tokens = () if written.token is None else (written.token,)
        return Step(text, len(tokens), reason, self._logprobs(written), tokens)

    def _logprobs(self, written: Written) -> tuple[TokenLogprob, ...]:
        if written.logprob is None or written.token is None:
            return ()
        return (
            TokenLogprob(
                token=written.token,
                text=self._token_bytes[written.token],
                logprob=written.logprob,
                top=tuple(
                    Alternative(token=token, text=self._token_bytes[token], logprob=logprob)
                    for token, logprob in written.top
                ),
            ),
        )


class PredictedText:
    """A text whose tokens are chosen elsewhere."""

    def __init__(self, prediction: Prediction) -> None:
        self.num_prompt_tokens = len(prediction.prompt_ids)
        self.writing = prediction

    def take(self, written: Written) -> Step:
        """Return the step that a prediction makes."""
        assert written.logits_V is not None
        logits_V = written.logits_V.cpu().numpy()
        nats, self.writing.prompt_nats = self.writing.prompt_nats, []  # with the first only
        return Step("", 0, predicted=Predicted(logits_V, nats))


class LedAnswer(KernelAnswer):
    """An answer written from what several kernels predict; it is in no batch."""

    def __init__(self, writing: Writing, token_bytes: Sequence[bytes], *, context: int) -> None:
        super().__init__(writing, token_bytes)
        self._context = context

    def choose(self, logits_V: FloatArray) -> tuple[int, Step]:
        """Choose the next token; logits are float64 and become float32, like a kernel's own."""
        logits = torch.from_numpy(logits_V).float()
        sampler = self.writing.sampler
        token = int(logits.argmax()) if sampler.is_greedy else sampler.pick(logits)
        drawn = with_logprobs(token, logits, sampler)
        taken = self.writing.accept(drawn, end_id=END_ID, context=self._context)
        return token, self.take(taken)


def _compiled(decoder: Decoder) -> Network:
    # Imported where it is wanted: torch's compiler takes 200 MB.
    from constellation.kernel.writing.compiled_decoder import CompiledDecoder, can_compile

    if not can_compile(decoder):
        return decoder
    compiled = CompiledDecoder(decoder)
    compiled.compile_beside()
    return compiled


class BatchEngine:
    """What all engines that have a batch do with it."""

    blocking = True
    _batch: Batch

    def step(self, answers: Sequence[KernelAnswer | PredictedText]) -> list[Step | None]:
        """Write one token of each of these answers; None where a prompt is still being read."""
        taking_part = {answer.writing: index for index, answer in enumerate(answers)}
        steps: list[Step | None] = [None] * len(answers)
        for written in self._batch.step(taking_part):
            index = taking_part[written.writing]
            steps[index] = step = answers[index].take(written)
            if step.reason is not None:  # a stop string: the batch does not know of them
                self._batch.remove(written.writing)
        return steps

    def leave(self, answer: KernelAnswer | PredictedText) -> None:
        """Forget an answer, finished or not."""
        self._batch.remove(answer.writing)


class KernelEngine(BatchEngine):
    """A decoder and the vocabulary it writes in.

    Args:
        prefill_tokens: Prompt tokens read in one step beside the tokens that are written.
        prefix_bytes: Memory for prompts that were read, whose beginnings are not read again.
        weights: How matrices are held: "float32", "bfloat16" or "int8".
        compiled: Whether its writing is compiled, in a thread beside what it does until then; left
            as it is where that cannot be, see `can_compile`.
        stacked: Where it writes together with other kernels, whose options these are; None: by
            itself.
        prompt_format: How conversations are written; None: plainly, roles leave no mark.
        planned_rows: As for `Batch`.
        record: As for `Batch`.
    """

    def __init__(
        self,
        loaded: LoadedKernel,
        vocabulary: Vocabulary,
        *,
        prefill_tokens: int = PREFILL_TOKENS,
        prefix_bytes: int = 0,
        weights: Weights = "float32",
        compiled: bool = False,
        stacked: StackedBatch | None = None,
        prompt_format: PromptFormat | None = None,
        planned_rows: int | None = None,
        record: Record | None = None,
    ) -> None:
        self.capabilities = replace(EVERYTHING, reads_roles=prompt_format is not None)
        self._prompt_format = prompt_format
        self._encoder = None if prompt_format is None else Encoder(vocabulary)
        self.vocabulary = COORDIZER_TOKENS
        self.stacked = stacked
        self._kernel = 0
        if stacked is None:
            self._decoder = prepare(loaded.decoder, weights)
            self._batch = Batch(
                _compiled(self._decoder) if compiled else self._decoder,
                end_id=END_ID,
                prefill_tokens=prefill_tokens,
                prefixes=PrefixStore(prefix_bytes) if prefix_bytes else None,
                planned_rows=planned_rows,
                record=record,
            )
        else:
            self._kernel = stacked.stack.put(loaded.decoder)
            self._batch = stacked
        self._token_bytes = token_bytes_of(vocabulary)
        self.tokenizer_hash = loaded.tokenizer_hash
        self.weights_hash = loaded.weights_hash
        self.context = loaded.config.context
        self.vocab_size = loaded.config.vocab_size
        self.num_parameters = loaded.config.num_parameters()
        self.kappa = kappa_learned(loaded.decoder).value

    def close(self) -> None:
        """Give its place beside other kernels back; it answers nobody any more."""
        if self.stacked is not None:
            self.stacked.drop(self._kernel)

    def start(
        self, tokens: Sequence[int], sampling: Sampling, produced: Sequence[int] = ()
    ) -> KernelAnswer:
        """Let an answer join; raises as `Engine.start`."""
        self._check_room(tokens, sampling, produced, self.context)
        writing = self._batch.add(tokens, sampling, produced, kernel=self._kernel)
        return KernelAnswer(writing, self._token_bytes)

    def start_chat(
        self, messages: Sequence[Message], sampling: Sampling, produced: Sequence[int] = ()
    ) -> KernelAnswer:
        """Let an answer to a conversation join, in the kernel's format; raises as `start`."""
        assert self._prompt_format is not None, "the capability is declared with a format only"
        assert self._encoder is not None
        tokens = self._encoder.encode(self._prompt_format.render(messages)).tolist()
        return self.start(tokens, sampling, produced)

    def predict(self, tokens: Sequence[int], *, is_scored: bool) -> PredictedText:
        """Let a text join whose tokens are chosen elsewhere; raises as `Engine.predict`."""
        return PredictedText(self._batch.predict(tokens, is_scored=is_scored, kernel=self._kernel))

    def tell(self, answer: PredictedText, token: int) -> None:
        """Go on with such a text by this token; raises as `Engine.tell`."""
        if not 0 <= token < self.vocab_size:
            raise InvalidRequest("token", token, f"token ids 0 to {self.vocab_size - 1}")
        length = answer.num_prompt_tokens + len(answer.writing.produced)
        if length >= self.context:
            raise InvalidRequest("token", token, f"nothing, since {length} tokens were read")
        answer.writing.tell(token)

    def lead(
        self, tokens: Sequence[int], sampling: Sampling, produced: Sequence[int], *, context: int
    ) -> LedAnswer:
        """Begin an answer that is written from what several kernels predict; raises as `start`."""
        self._check_room(tokens, sampling, produced, context)
        prompt = [int(token) for token in tokens]
        sampler = Sampler(sampling, prompt, END_ID, self.vocab_size)
        before = [int(token) for token in produced]
        sampler.resume(before)
        writing = Writing(prompt, sampler, None, [], before)
        return LedAnswer(writing, self._token_bytes, context=context)

    def _check_room(
        self, tokens: Sequence[int], sampling: Sampling, produced: Sequence[int], context: int
    ) -> None:
        if not 1 <= len(tokens) < context:
            raise InvalidPrompt(length=len(tokens), limit=context - 1)
        if len(produced) >= sampling.tokens_max:
            raise InvalidRequest("produced", len(produced), "fewer tokens than tokens_max")

    def score(self, tokens: Sequence[int], num_context: int) -> Score:
        """Say how likely `tokens[num_context:]` is after the tokens before.

        The first token of all is read after the end token, so that it is scored too.
        """
        if not 0 <= num_context < len(tokens):
            raise InvalidRequest("num_context", num_context, f"0 to {len(tokens) - 1}")
        nats = self.token_nats(tokens)[num_context:]
        return Score(nats=float(nats.sum()), num_tokens=len(nats))

    def token_nats(self, tokens: Sequence[int]) -> FloatArray:
        """Return -ln p of each of these tokens after those before it.

        The first is read after the end token, so that it has one too.
        """
        alone = self._decoder if self.stacked is None else self.stacked.stack.alone(self._kernel)
        nats: FloatArray = token_nats(alone, [END_ID, *tokens]).double().numpy()
        return nats


@lru_cache(maxsize=4)
def token_bytes_of(vocabulary: Vocabulary) -> tuple[bytes, ...]:
    """Return the bytes of every token."""
    # Kernels of one process share it: at 50,000 tokens it takes megabytes.
    return vocabulary.token_bytes()
