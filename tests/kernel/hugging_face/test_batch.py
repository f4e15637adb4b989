"""Models of `transformers` write in our batches what the library writes with them by itself."""

import random
from typing import Any

import pytest
import torch

from constellation.kernel.hugging_face.transformers_batch import HuggingFaceBatch
from constellation.kernel.hugging_face.transformers_model import LoadedModel, open_model
from constellation.kernel.writing.batch import Writing
from constellation.kernel.writing.prefix_cache import PrefixStore
from constellation.kernel.writing.scoring import token_nats
from constellation.records import FinishReason, Sampling
from tests.support.hugging_face import ARCHITECTURES, VOCAB_SIZE, build_model


@pytest.fixture(scope="module", params=ARCHITECTURES)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, LoadedModel]:
    """Return the library's model and ours of the same folder."""
    folder = tmp_path_factory.mktemp(request.param)
    model = build_model(folder, ARCHITECTURES[request.param], seed=1)
    return model, open_model(folder)


def generated(model: Any, prompt: list[int], tokens_max: int, end_ids: tuple[int, ...]) -> Any:
    """Return what the library writes, without the token that ends it."""
    ids = torch.tensor([prompt])
    whole = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=tokens_max,
        do_sample=False,
        pad_token_id=0,
    )
    written = whole[0, len(prompt) :].tolist()
    return written[:-1] if written and written[-1] in end_ids else written


def prompts(seed: int, num: int) -> list[tuple[list[int], Sampling]]:
    """Return prompts, some of which begin alike."""
    source = random.Random(seed)
    common = [source.randrange(6, VOCAB_SIZE - 10) for _ in range(20)]
    made = []
    for _ in range(num):
        own = [source.randrange(6, VOCAB_SIZE - 10) for _ in range(source.randint(1, 9))]
        prompt = [*common[: source.choice([0, 0, 6, 20])], *own]
        made.append((prompt, Sampling(tokens_max=source.randint(1, 14), temperature=0)))
    return made


def written_together(
    batch: HuggingFaceBatch, wanted: list[tuple[list[int], Sampling]], source: random.Random
) -> dict[int, Writing]:
    """Let texts join at random steps; pause some, cancel some; return those not cancelled."""
    waiting, kept, num_cancelled = list(enumerate(wanted)), {}, 0
    while waiting or len(batch):
        while waiting and source.random() < 0.6:
            index, (prompt, sampling) = waiting.pop()
            kept[index] = batch.add(prompt, sampling)
            if num_cancelled < 3 and source.random() < 0.3:
                batch.remove(batch.add(prompt, sampling))
                num_cancelled += 1
        running = [w for w in kept.values() if w.row is not None and source.random() < 0.8]
        batch.step(running)
    return kept


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_texts_in_company_are_what_the_library_writes_alone(
    pair: tuple[Any, LoadedModel], seed: int
) -> None:
    model, loaded = pair
    wanted = prompts(seed, 12)
    batch = HuggingFaceBatch(
        loaded.network,
        end_ids=loaded.end_ids,
        prefill_tokens=7,
        prefixes=PrefixStore(2**20, tokens_min=4),
    )
    kept = written_together(batch, wanted, random.Random(seed))
    texts = set()
    for index, (prompt, sampling) in enumerate(wanted):
        expected = generated(model, prompt, sampling.tokens_max, loaded.end_ids)
        assert kept[index].produced == expected
        texts.add(tuple(expected))
    assert len(texts) > 8
    assert batch.cache_bytes > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_draws_are_the_same_alone_and_in_company(pair: tuple[Any, LoadedModel], seed: int) -> None:
    _, loaded = pair
    options = {"temperature": 1.3, "top_p": 0.9, "top_k": 40, "repetition_penalty": 1.2}
    wanted = [
        (prompt, Sampling(tokens_max=10, seed=number, **options))
        for number, (prompt, _) in enumerate(prompts(seed, 6))
    ]
    batch = HuggingFaceBatch(loaded.network, end_ids=loaded.end_ids)
    together = written_together(batch, wanted, random.Random(seed))
    for index, text in enumerate(wanted):
        batch = HuggingFaceBatch(loaded.network, end_ids=loaded.end_ids, prefill_tokens=1000)
        alone = written_together(batch, [text], random.Random(seed))
        assert together[index].produced == alone[0].produced


def test_the_context_ends_a_text_where_the_library_has_no_more_places(
    pair: tuple[Any, LoadedModel],
) -> None:
    model, loaded = pair
    context = loaded.network.config.context
    prompt = prompts(5, 1)[0][0]
    batch = HuggingFaceBatch(loaded.network, end_ids=())
    writing = batch.add(prompt, Sampling(tokens_max=4096, temperature=0))
    while writing.row is not None:
        batch.step()
    assert writing.finish_reason is FinishReason.CONTEXT
    assert len(prompt) + len(writing.produced) == context + 1
    ids = torch.tensor([[*prompt, *writing.produced[:-1]]])
    choices = model(input_ids=ids).logits[0].argmax(-1).tolist()
    assert writing.produced == choices[len(prompt) - 1 :]


def test_every_one_of_several_ends_ends_a_text_and_is_held_back(
    pair: tuple[Any, LoadedModel],
) -> None:
    _, loaded = pair
    prompt = prompts(7, 1)[0][0]
    free = HuggingFaceBatch(loaded.network, end_ids=())
    writing = free.add(prompt, Sampling(tokens_max=8, temperature=0))
    while writing.row is not None:
        free.step()
    for place, token in enumerate(writing.produced):
        batch = HuggingFaceBatch(loaded.network, end_ids=(1, token))
        ended = batch.add(prompt, Sampling(tokens_max=8, temperature=0))
        longer = batch.add(prompt, Sampling(tokens_max=8, tokens_min=8, temperature=0))
        while len(batch):
            batch.step()
        first = writing.produced.index(token)
        assert ended.produced == writing.produced[:first]
        assert ended.finish_reason is FinishReason.END
        assert len(longer.produced) == 8
        assert not {1, token} & set(longer.produced)
        assert first <= place


def test_nats_are_those_of_the_library(pair: tuple[Any, LoadedModel]) -> None:
    model, loaded = pair
    ids = prompts(9, 1)[0][0] + prompts(10, 1)[0][0]
    logits_TV = model(input_ids=torch.tensor([ids])).logits[0, :-1]
    expected = torch.nn.functional.cross_entropy(logits_TV, torch.tensor(ids[1:]), reduction="none")
    torch.testing.assert_close(token_nats(loaded.network, ids), expected, atol=1e-4, rtol=1e-4)
