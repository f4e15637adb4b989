"""KernelEngine: a trained kernel as a host drives it, token by token."""

from collections.abc import Sequence
from pathlib import Path

import torch

from constellation.coordizer.artifacts import read_vocabulary
from constellation.coordizer.stream import TextStream
from constellation.coordizer.vocabulary import END_ID, Vocabulary
from constellation.errors import ArtifactError, InvalidPrompt, InvalidRequest
from constellation.kernel.checkpoint import LoadedKernel, load_kernel
from constellation.kernel.generation import Generation
from constellation.kernel.kappa import kappa_learned
from constellation.kernel.scoring import token_nats
from constellation.records import FinishReason, Sampling, Score


class KernelAnswer:
    """One answer being written."""

    def __init__(self, generation: Generation, stream: TextStream, num_prompt_tokens: int) -> None:
        self.num_prompt_tokens = num_prompt_tokens
        self._generation = generation
        self._stream = stream

    def step(self) -> tuple[str, int, FinishReason | None]:
        """Write one token; text comes in whole code points, the rest with the last step."""
        token = self._generation.step()
        text = "" if token is None else self._stream.feed(token)
        reason = self._generation.finish_reason
        if reason is not None:
            text += self._stream.flush()
        return text, int(token is not None), None if reason is None else FinishReason(reason)


class KernelEngine:
    """A decoder and the vocabulary it writes in."""

    blocking = True

    def __init__(self, loaded: LoadedKernel, vocabulary: Vocabulary) -> None:
        self._decoder = loaded.decoder
        self._token_bytes = vocabulary.token_bytes()
        self.tokenizer_hash = loaded.tokenizer_hash
        self.weights_hash = loaded.weights_hash
        self.context = loaded.config.context
        self.num_parameters = loaded.config.num_parameters()
        self.kappa = kappa_learned(self._decoder).value

    @classmethod
    def load(
        cls, kernel_folder: Path, coordizer_folder: Path, *, num_threads: int
    ) -> "KernelEngine":
        """Load a kernel and its vocabulary.

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
        return cls(loaded, vocabulary)

    def start(self, tokens: Sequence[int], sampling: Sampling) -> KernelAnswer:
        """Begin an answer.

        Raises:
            InvalidPrompt: No token, or too many to leave room for one more.
        """
        if not 1 <= len(tokens) < self.context:
            raise InvalidPrompt(length=len(tokens), limit=self.context - 1)
        generation = Generation(self._decoder, tokens, sampling, END_ID)
        return KernelAnswer(generation, TextStream(self._token_bytes.__getitem__), len(tokens))

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
