"""AdaptedModelEngine: a LoRA adapter over a model of `transformers` that other kernels share."""

from collections.abc import Sequence
from dataclasses import dataclass

from actors.kernel.own_vocabulary_engine import Identity, OwnVocabularyEngine
from constellation.kernel.files.own_vocabulary import MODEL_VOCABULARY
from constellation.kernel.files.prompt_format import PromptFormat
from constellation.kernel.hugging_face.model_stack import AdaptedModel, ModelStack, ModelStackBatch
from constellation.kernel.hugging_face.peft_adapter import PeftAdapter
from constellation.kernel.hugging_face.transformers_model import LoadedModel
from constellation.kernel.writing.prefix_cache import PrefixStore
from constellation.records import FOREIGN_NETWORK


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SharedModel:
    """A base that is in memory once, and the texts that kernels over it write together."""

    loaded: LoadedModel
    batch: ModelStackBatch

    @classmethod
    def of(
        cls,
        loaded: LoadedModel,
        *,
        prefill_tokens: int,
        prefix_bytes: int,
        planned_rows: int | None = None,
    ) -> "SharedModel":
        """Make a base ready for adapters; arguments as for `Batch`."""
        batch = ModelStackBatch(
            ModelStack(loaded.network),
            loaded.network,
            end_ids=loaded.end_ids,
            prefill_tokens=prefill_tokens,
            prefixes=PrefixStore(prefix_bytes) if prefix_bytes else None,
            planned_rows=planned_rows,
        )
        return cls(loaded=loaded, batch=batch)


class AdaptedModelEngine(OwnVocabularyEngine):
    """A kernel over a shared base, or without an adapter the base by itself.

    `tokenizer_hash` is the base's, `weights_hash` that of the adapter's weights.

    Raises:
        ConfigError: The adapter's matrices are not the base's.
    """

    def __init__(
        self,
        name: str,
        shared: SharedModel,
        adapter: PeftAdapter | None,
        *,
        tokenizer_hash: str,
        weights_hash: str,
        token_bytes: Sequence[bytes],
        prompt_format: PromptFormat | None = None,
    ) -> None:
        loaded, batch = shared.loaded, shared.batch
        place = batch.stack.put(adapter)
        model = AdaptedModel.of(name, loaded, batch.stack.alone(place))
        own = sum(pair.a_RI.numel() + pair.b_OR.numel() for pair in (adapter or {}).values())
        identity = Identity(
            capabilities=FOREIGN_NETWORK,
            vocabulary=MODEL_VOCABULARY,
            tokenizer_hash=tokenizer_hash,
            weights_hash=weights_hash,
            num_parameters=loaded.num_parameters + own,
        )
        super().__init__(model, identity, batch, token_bytes, prompt_format=prompt_format)
        self.stacked = self._shared = batch
        self._kernel = place

    def close(self) -> None:
        """Give its place over the base back; it answers nobody any more."""
        self._shared.drop(self._kernel)
