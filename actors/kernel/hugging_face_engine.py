"""HuggingFaceEngine: a model of `transformers` as a host drives it, with a vocabulary of its own.

What goes between router and kernels are the coordizer's tokens. They hold every byte of a text, so
this engine joins them to the text and reads that with the model's own tokenizer: the prompt, and
what others have written of the answer. The ids that it writes mean nothing to others and are not
sent; who goes on with its answer goes on from the text.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

from actors.kernel.engine import BatchEngine, KernelAnswer
from actors.kernel.engine_interface import Step
from constellation.coordizer.text_stream import TextStream
from constellation.errors import IncompatibleKernels, InvalidPrompt, InvalidRequest
from constellation.kernel.files.transformers_folder import ModelFiles
from constellation.kernel.hugging_face.transformers_batch import HuggingFaceBatch
from constellation.kernel.hugging_face.transformers_model import LoadedModel
from constellation.kernel.hugging_face.transformers_scoring import score_text
from constellation.kernel.writing.batch import PREFILL_TOKENS, Written
from constellation.kernel.writing.prefix_cache import PrefixStore
from constellation.records import FloatArray, Sampling, Score


class HuggingFaceAnswer(KernelAnswer):
    """One answer being written; its steps say no ids, which are of another vocabulary."""

    def take(self, written: Written) -> Step:
        """Return the step that a token makes; text comes in whole code points."""
        return replace(super().take(written), tokens=())


class HuggingFaceEngine(BatchEngine):
    """A model and its tokens.

    What has to speak of the same tokens as other kernels is refused: texts that several write
    together, and the nats of every token.

    Args:
        loaded: The model.
        files: Its identity.
        token_bytes: Bytes of the coordizer's tokens, in which texts come.
        prefill_tokens: Prompt tokens read in one step beside the tokens that are written.
        prefix_bytes: Memory for prompts that were read, whose beginnings are not read again.
    """

    stacked = None
    kappa: float | None = None

    def __init__(
        self,
        loaded: LoadedModel,
        files: ModelFiles,
        token_bytes: Sequence[bytes],
        *,
        prefill_tokens: int = PREFILL_TOKENS,
        prefix_bytes: int = 0,
    ) -> None:
        self._loaded = loaded
        self._tokens = loaded.tokens
        self._sent_bytes = token_bytes
        self._batch = HuggingFaceBatch(
            loaded.network,
            end_ids=loaded.end_ids,
            prefill_tokens=prefill_tokens,
            prefixes=PrefixStore(prefix_bytes) if prefix_bytes else None,
        )
        self.tokenizer_hash = files.tokenizer_hash
        self.weights_hash = files.weights_hash
        self.context = loaded.network.config.context
        self.vocab_size = loaded.network.config.vocab_size
        self.num_parameters = loaded.num_parameters

    def close(self) -> None:
        """Do nothing: it shares nothing with other kernels."""

    def start(
        self, tokens: Sequence[int], sampling: Sampling, produced: Sequence[int] = ()
    ) -> HuggingFaceAnswer:
        """Let an answer join.

        Args:
            tokens: The prompt, in the coordizer's tokens.
            sampling: Options of the draws; token ids in them are the model's own.
            produced: What others wrote of the answer, in the coordizer's tokens.

        Raises:
            InvalidPrompt: No token of the model's, or too many to leave room for one more.
            InvalidRequest: A token is in neither vocabulary, or nothing is left to be written.
        """
        if len(produced) >= sampling.tokens_max:
            raise InvalidRequest("produced", len(produced), "fewer tokens than tokens_max")
        prompt = self._tokens.encode(self._text("tokens", tokens, ends=True), opens=True)
        if not 1 <= len(prompt) < self.context:
            raise InvalidPrompt(length=len(prompt), limit=self.context - 1)
        # Without the half of a character at the end, which nobody has heard.
        written = self._text("produced", produced, ends=False)
        before = self._tokens.encode(written, opens=False) if written else []
        sampling = sampling.recounted(len(produced), len(before))
        writing = self._batch.add(prompt, sampling, before)
        return HuggingFaceAnswer(writing, self._tokens.token_bytes)

    def score(self, tokens: Sequence[int], num_context: int) -> Score:
        """Say how likely the text of `tokens[num_context:]` is after that of the tokens before.

        The nats, and their number, are those of the model's own tokens.
        """
        if not 0 <= num_context < len(tokens):
            raise InvalidRequest("num_context", num_context, f"0 to {len(tokens) - 1}")
        context = self._text("tokens", tokens[:num_context], ends=True)
        text = self._text("tokens", tokens[num_context:], ends=True)
        return score_text(self._loaded, context, text)

    def token_nats(self, tokens: Sequence[int]) -> FloatArray:
        """Refuse: tokens of two vocabularies cannot be weighed one by one."""
        self._refuse()

    def predict(self, tokens: Sequence[int], *, is_scored: bool) -> NoReturn:
        """Refuse: who chooses would speak of other tokens."""
        self._refuse()

    def tell(self, answer: object, token: int) -> NoReturn:
        """Refuse, as `predict`."""
        self._refuse()

    def lead(
        self, tokens: Sequence[int], sampling: Sampling, produced: Sequence[int], *, context: int
    ) -> NoReturn:
        """Refuse: who predicts would speak of other tokens."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise IncompatibleKernels(self._loaded.name)

    def _text(self, field: str, tokens: Sequence[int], *, ends: bool) -> str:
        """Return the text of the coordizer's tokens.

        Args:
            field: Where they came from, for errors.
            tokens: Ids.
            ends: Whether bytes of half a character at the end are told by U+FFFD or left out.
        """
        for token in tokens:
            if not 0 <= token < len(self._sent_bytes):
                raise InvalidRequest(field, token, f"token ids 0 to {len(self._sent_bytes) - 1}")
        stream = TextStream(self._sent_bytes.__getitem__)
        text = "".join([stream.feed(token) for token in tokens])
        return text + stream.flush() if ends else text
