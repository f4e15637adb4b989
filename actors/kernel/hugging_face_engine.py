"""HuggingFaceEngine: a model of `transformers` as a host drives it, with its own tokenizer."""

from collections.abc import Sequence

from actors.kernel.own_vocabulary_engine import Identity, OwnVocabularyEngine
from constellation.kernel.files.own_vocabulary import MODEL_VOCABULARY
from constellation.kernel.files.prompt_format import PromptFormat
from constellation.kernel.files.transformers_folder import ModelFiles
from constellation.kernel.hugging_face.transformers_batch import HuggingFaceBatch
from constellation.kernel.hugging_face.transformers_model import LoadedModel
from constellation.kernel.writing.batch import PREFILL_TOKENS
from constellation.kernel.writing.prefix_cache import PrefixStore
from constellation.records import FOREIGN_NETWORK


class HuggingFaceEngine(OwnVocabularyEngine):
    """A model and its tokens; arguments as for `OwnVocabularyEngine` and `KernelEngine`."""

    def __init__(
        self,
        loaded: LoadedModel,
        files: ModelFiles,
        token_bytes: Sequence[bytes],
        *,
        prefill_tokens: int = PREFILL_TOKENS,
        prefix_bytes: int = 0,
        prompt_format: PromptFormat | None = None,
        planned_rows: int | None = None,
    ) -> None:
        self._loaded = loaded
        batch = HuggingFaceBatch(
            loaded.network,
            end_ids=loaded.end_ids,
            prefill_tokens=prefill_tokens,
            prefixes=PrefixStore(prefix_bytes) if prefix_bytes else None,
            planned_rows=planned_rows,
        )
        identity = Identity(
            capabilities=FOREIGN_NETWORK,
            vocabulary=MODEL_VOCABULARY,
            tokenizer_hash=files.tokenizer_hash,
            weights_hash=files.weights_hash,
            num_parameters=loaded.num_parameters,
        )
        super().__init__(loaded, identity, batch, token_bytes, prompt_format=prompt_format)
