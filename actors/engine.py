"""KernelEngine: a trained kernel as a host drives it, one token of every answer per step."""

from collections.abc import Sequence
from pathlib import Path

import torch

from actors.engine_port import Step
from constellation.coordizer.artifacts import read_vocabulary
from constellation.coordizer.stream import TextStream
from constellation.coordizer.vocabulary import END_ID, Vocabulary
from constellation.errors import ArtifactError, InvalidPrompt, InvalidRequest
from constellation.kernel.batch import PREFILL_TOKENS, Batch, Writing, Written
from constellation.kernel.checkpoint import LoadedKernel, load_kernel
from constellation.kernel.kappa import kappa_learned
from constellation.kernel.prefixes import PrefixStore
from constellation.kernel.products import Weights, prepare
from constellation.kernel.scoring import token_nats
from constellation.kernel.stops import StopStrings
from constellation.records import (
    Alternative,
    FinishReason,
    Sampling,
    Score,
    TokenLogprob,
)


class KernelAnswer:
    """One answer being written: its tokens as text that ends before a stop string."""

    def __init__(self, writing: Writing, token_bytes: Sequence[bytes]) -> None:
        self.num_prompt_tokens = len(writing.prompt_ids)
        self.writing = writing
        self._token_bytes = token_bytes
        self._stream = TextStream(token_bytes.__getitem__)
        self._stops = StopStrings(writing.sampler.sampling.stop)

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
        return Step(text, int(written.token is not None), reason, self._logprobs(written))

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


class KernelEngine:
    """A decoder and the vocabulary it writes in.

    Args:
        loaded: The kernel.
        vocabulary: Its tokens.
        prefill_tokens: Prompt tokens read in one step beside the tokens that are written.
        prefix_bytes: Memory for prompts that were read, whose beginnings are not read again.
        weights: How matrices are held: "float32", "bfloat16" or "int8".
    """

    blocking = True

    def __init__(
        self,
        loaded: LoadedKernel,
        vocabulary: Vocabulary,
        *,
        prefill_tokens: int = PREFILL_TOKENS,
        prefix_bytes: int = 0,
        weights: Weights = "float32",
    ) -> None:
        self._decoder = prepare(loaded.decoder, weights)
        self._batch = Batch(
            self._decoder,
            end_id=END_ID,
            prefill_tokens=prefill_tokens,
            prefixes=PrefixStore(prefix_bytes) if prefix_bytes else None,
        )
        self._token_bytes = vocabulary.token_bytes()
        self.tokenizer_hash = loaded.tokenizer_hash
        self.weights_hash = loaded.weights_hash
        self.context = loaded.config.context
        self.num_parameters = loaded.config.num_parameters()
        self.kappa = kappa_learned(self._decoder).value

    @classmethod
    def load(
        cls,
        kernel_folder: Path,
        coordizer_folder: Path,
        *,
        num_threads: int,
        prefill_tokens: int = PREFILL_TOKENS,
        prefix_bytes: int = 0,
        weights: Weights = "float32",
    ) -> "KernelEngine":
        """Load a kernel and its vocabulary; the options are those of the class.

        Raises:
            ArtifactError: A file is damaged or the two do not belong together.
        """
        torch.set_num_threads(num_threads)
        loaded = load_kernel(kernel_folder)
        vocabulary = read_vocabulary(coordizer_folder)
        if loaded.tokenizer_hash != vocabulary.sha256():
            raise ArtifactError(
                kernel_folder, f"was trained with another vocabulary than {coordizer_folder}"
            )
        return cls(
            loaded,
            vocabulary,
            prefill_tokens=prefill_tokens,
            prefix_bytes=prefix_bytes,
            weights=weights,
        )

    def start(self, tokens: Sequence[int], sampling: Sampling) -> KernelAnswer:
        """Let an answer join.

        Raises:
            InvalidPrompt: No token, or too many to leave room for one more.
            InvalidRequest: A token of the prompt or of the bias is not in the vocabulary.
        """
        if not 1 <= len(tokens) < self.context:
            raise InvalidPrompt(length=len(tokens), limit=self.context - 1)
        return KernelAnswer(self._batch.add(tokens, sampling), self._token_bytes)

    def step(self, answers: Sequence[KernelAnswer]) -> list[Step | None]:
        """Write one token of each of these answers; None where a prompt is still being read."""
        taking_part = {answer.writing: index for index, answer in enumerate(answers)}
        steps: list[Step | None] = [None] * len(answers)
        for written in self._batch.step(taking_part):
            index = taking_part[written.writing]
            steps[index] = step = answers[index].take(written)
            if step.reason is not None:  # a stop string: the batch does not know of them
                self._batch.remove(written.writing)
        return steps

    def leave(self, answer: KernelAnswer) -> None:
        """Forget an answer, finished or not."""
        self._batch.remove(answer.writing)

    def score(self, tokens: Sequence[int], num_context: int) -> Score:
        """Say how likely `tokens[num_context:]` is after the tokens before.

        The first token of all is read after the end token, so that it is scored too.
        """
        if not 0 <= num_context < len(tokens):
            raise InvalidRequest("num_context", num_context, f"0 to {len(tokens) - 1}")
        ids = [END_ID, *tokens]
        nats = token_nats(self._decoder, ids)
        return Score(
            nats=float(nats[num_context:].sum(dtype=torch.float64)),
            num_tokens=len(tokens) - num_context,
        )
