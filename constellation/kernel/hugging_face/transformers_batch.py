"""A batch of texts of one `transformers` model, in which any of several tokens ends a text.

Models of conversations have one such token for a turn and one for a document.
"""

from collections.abc import Sequence

from constellation.kernel.hugging_face.transformers_network import HuggingFaceNetwork
from constellation.kernel.writing.batch import PREFILL_TOKENS, Batch, Writing, Written
from constellation.kernel.writing.batched_sampling import Drawn
from constellation.kernel.writing.prefix_cache import PrefixStore
from constellation.kernel.writing.sampling import Sampler, check_prompt
from constellation.records import Sampling


class HuggingFaceBatch(Batch):
    """Texts of one model.

    Each token of `end_ids` ends a text. Other arguments are those of `Batch`.
    """

    def __init__(
        self,
        network: HuggingFaceNetwork,
        *,
        end_ids: Sequence[int],
        prefill_tokens: int = PREFILL_TOKENS,
        prefixes: PrefixStore | None = None,
        planned_rows: int | None = None,
    ) -> None:
        super().__init__(
            network,
            end_id=end_ids[0] if end_ids else None,
            prefill_tokens=prefill_tokens,
            prefixes=prefixes,
            planned_rows=planned_rows,
        )
        self._other_ends = tuple(end_ids[1:])

    def _checked(self, prompt_ids: Sequence[int], sampling: Sampling) -> tuple[list[int], Sampler]:
        config = self._decoder.config
        prompt = [int(token) for token in prompt_ids]
        check_prompt(prompt, config.context)
        ends = self._other_ends
        return prompt, Sampler(sampling, prompt, self._end_id, config.vocab_size, other_ends=ends)

    def _accept(self, writing: Writing, drawn: Drawn) -> Written:
        if drawn.token in self._other_ends and self._end_id is not None:
            drawn = Drawn(self._end_id)
        return super()._accept(writing, drawn)
