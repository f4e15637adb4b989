"""OwnVocabularyEngine: a model with a vocabulary of its own, as a host drives it.

What goes between router and kernels are the coordizer's tokens. They hold every byte of a text, so
this engine joins them to the text and reads that in the model's own tokens: the prompt, and what
others have written of the answer. The ids that the engine writes mean nothing to other kernels and
are not sent; a kernel that continues the answer continues from the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from actors.kernel.engine import BatchEngine, KernelAnswer
from actors.kernel.engine_interface import Step
from constellation.coordizer.text_stream import TextStream
from constellation.errors import IncompatibleKernels, InvalidPrompt, InvalidRequest
from constellation.kernel.files.prompt_format import PromptFormat
from constellation.kernel.writing.batch import Batch, Written
from constellation.kernel.writing.text_model import TextModel, score_text
from constellation.records import Capabilities, FloatArray, Message, Sampling, Score


class OwnVocabularyAnswer(KernelAnswer):
    """One answer being written; its steps say no ids, which are of another vocabulary."""

    def take(self, written: Written) -> Step:
        """Return the step that a token makes; text comes in whole code points."""
        return replace(super().take(written), tokens=())


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What an engine says of its model and does not compute with."""

    capabilities: Capabilities
    vocabulary: str
    """Name of the vocabulary, for people."""
    tokenizer_hash: str
    """sha256 (hex) of the vocabulary."""
    weights_hash: str
    """sha256 (hex) of the weights."""
    num_parameters: int
    kappa: float | None = None
    """Learned coupling; None for a network that has none."""


class OwnVocabularyEngine(BatchEngine):
    """A model and its tokens.

    What has to speak of the same tokens as other kernels is refused: texts that several write
    together, and the nats of every token.

    Args:
        model: The network and its vocabulary.
        identity: What the engine says of them.
        batch: Texts of this network alone.
        token_bytes: Bytes of the coordizer's tokens, in which texts come.
        prompt_format: How conversations are written; None: plainly, roles leave no mark.
    """

    stacked: Batch | None = None
    _kernel = 0

    def __init__(
        self,
        model: TextModel,
        identity: Identity,
        batch: Batch,
        token_bytes: Sequence[bytes],
        *,
        prompt_format: PromptFormat | None = None,
    ) -> None:
        self._prompt_format = prompt_format
        self._model = model
        self._tokens = model.tokens
        self._own_bytes = model.tokens.token_bytes
        self._sent_bytes = token_bytes
        self._batch = batch
        roles = prompt_format is not None
        self.capabilities = replace(identity.capabilities, reads_roles=roles)
        self.vocabulary = identity.vocabulary
        self.tokenizer_hash = identity.tokenizer_hash
        self.weights_hash = identity.weights_hash
        self.num_parameters = identity.num_parameters
        self.kappa = identity.kappa
        self.context = model.network.config.context
        self.vocab_size = model.network.config.vocab_size

    def close(self) -> None:
        """Do nothing: the engine shares nothing with other kernels."""

    def start(
        self, tokens: Sequence[int], sampling: Sampling, produced: Sequence[int] = ()
    ) -> OwnVocabularyAnswer:
        """Let an answer join.

        Args:
            tokens: The prompt, in the coordizer's tokens.
            sampling: Options of the draws; token ids in them are the model's own.
            produced: What others wrote of the answer, in the coordizer's tokens.

        Raises:
            InvalidPrompt: No token of the model's, or too many to leave room for one more.
            UnknownSymbol: The text has a symbol that the model's vocabulary lacks.
            InvalidRequest: A token is in neither vocabulary, or nothing is left to be written.
        """
        text = self._text("tokens", tokens, ends=True)
        return self._begin(self._tokens.encode(text, opens=True), sampling, produced)

    def start_chat(
        self, messages: Sequence[Message], sampling: Sampling, produced: Sequence[int] = ()
    ) -> OwnVocabularyAnswer:
        """Let an answer to a conversation join, in the model's prompt format; raises as `start`."""
        assert self._prompt_format is not None, "the capability is declared with a format only"
        # A format writes all special tokens itself.
        prompt = self._tokens.encode(self._prompt_format.render(messages), opens=False)
        return self._begin(prompt, sampling, produced)

    def _begin(
        self, prompt: Sequence[int], sampling: Sampling, produced: Sequence[int]
    ) -> OwnVocabularyAnswer:
        if len(produced) >= sampling.tokens_max:
            raise InvalidRequest("produced", len(produced), "fewer tokens than tokens_max")
        if not 1 <= len(prompt) < self.context:
            raise InvalidPrompt(length=len(prompt), limit=self.context - 1)
        # Without the half of a character at the end, which nobody has heard.
        written = self._text("produced", produced, ends=False)
        before = self._tokens.encode(written, opens=False) if written else []
        sampling = sampling.recounted(len(produced), len(before))
        writing = self._batch.add(prompt, sampling, before, kernel=self._kernel)
        return OwnVocabularyAnswer(writing, self._own_bytes)

    def score(self, tokens: Sequence[int], num_context: int) -> Score:
        """Say how likely the text of `tokens[num_context:]` is after that of the tokens before.

        The nats, and their number, are those of the model's own tokens.
        """
        if not 0 <= num_context < len(tokens):
            raise InvalidRequest("num_context", num_context, f"0 to {len(tokens) - 1}")
        context = self._text("tokens", tokens[:num_context], ends=True)
        text = self._text("tokens", tokens[num_context:], ends=True)
        return score_text(self._model, context, text)

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
        raise IncompatibleKernels(self._model.name)

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
