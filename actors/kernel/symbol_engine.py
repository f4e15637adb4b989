"""SymbolEngine: a network of our own with a vocabulary of symbols, as a host drives it."""

from collections.abc import Sequence

from actors.kernel.own_vocabulary_engine import Identity, OwnVocabularyEngine
from constellation.kernel.files.prompt_format import PromptFormat
from constellation.kernel.files.symbol_kernel import SymbolKernel
from constellation.kernel.observables.kappa import kappa_learned
from constellation.kernel.writing.batch import PREFILL_TOKENS, Batch
from constellation.kernel.writing.fast_products import Weights, prepare
from constellation.kernel.writing.prefix_cache import PrefixStore
from constellation.kernel.writing.recorded_steps import Record
from constellation.records import OWN_VOCABULARY


class SymbolEngine(OwnVocabularyEngine):
    """A kernel and its symbols; arguments as for `OwnVocabularyEngine` and `KernelEngine`."""

    def __init__(
        self,
        loaded: SymbolKernel,
        token_bytes: Sequence[bytes],
        *,
        prefill_tokens: int = PREFILL_TOKENS,
        prefix_bytes: int = 0,
        prompt_format: PromptFormat | None = None,
        planned_rows: int | None = None,
        record: Record | None = None,
        weights: Weights = "float32",
    ) -> None:
        kernel = loaded.kernel
        batch = Batch(
            prepare(kernel.decoder, weights),
            end_id=loaded.tokens.end_id,
            prefill_tokens=prefill_tokens,
            prefixes=PrefixStore(prefix_bytes) if prefix_bytes else None,
            planned_rows=planned_rows,
            record=record,
        )
        identity = Identity(
            capabilities=OWN_VOCABULARY,
            vocabulary=loaded.tokens.name,
            tokenizer_hash=kernel.tokenizer_hash,
            weights_hash=kernel.weights_hash,
            num_parameters=kernel.config.num_parameters(),
            kappa=kappa_learned(kernel.decoder).value,
        )
        super().__init__(loaded, identity, batch, token_bytes, prompt_format=prompt_format)
