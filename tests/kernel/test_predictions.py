"""Texts in a batch whose tokens are chosen elsewhere: they rest, and hold nobody up."""

import random

import pytest
import torch

from constellation.errors import InvalidPrompt, InvalidRequest
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing.batch import Batch
from constellation.kernel.writing.generation import Generation
from constellation.kernel.writing.prefix_cache import PrefixStore
from constellation.records import Sampling
from tests.kernel.conftest import NETWORKS, MakeKernel

GREEDY = Sampling(tokens_max=8, temperature=0)


@torch.inference_mode()
def log_probs(decoder: Decoder, tokens: list[int]) -> torch.Tensor:
    return decoder(torch.tensor([tokens]))[0].double().log_softmax(-1)


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_predictions_in_company_are_those_of_whole_passes(
    network: str, make_kernel: MakeKernel
) -> None:
    for seed in range(3 if network == "modern" else 1):
        rng = random.Random(seed)
        decoder = make_kernel(seed=seed, **NETWORKS[network])
        store = PrefixStore(10**6, tokens_min=2) if seed else None
        batch = Batch(decoder, end_id=None, prefill_tokens=rng.choice([1, 4, 50]), prefixes=store)
        common = [rng.randrange(61) for _ in range(6)]
        texts = [[*common, *(rng.randrange(61) for _ in range(n))] for n in range(4)]
        predictions = [
            batch.predict(text, is_scored=index % 2 == 1) for index, text in enumerate(texts)
        ]
        writings = [batch.add([*common, n], GREEDY) for n in range(3)]
        heard = 0
        while heard < 12 or any(writing.finish_reason is None for writing in writings):
            for written in batch.step():
                if written.writing not in predictions:
                    continue
                prediction = predictions[predictions.index(written.writing)]  # type: ignore[arg-type]
                text = texts[predictions.index(prediction)]
                log_p_TV = log_probs(decoder, text)
                assert written.logits_V is not None
                ours_V = written.logits_V.double().log_softmax(-1)
                torch.testing.assert_close(ours_V, log_p_TV[-1], atol=2e-4, rtol=1e-5)
                if prediction.is_scored and not prediction.produced:
                    following = torch.tensor(text[1:])[:, None]
                    nats_T = -log_p_TV[:-1].gather(1, following).squeeze(1)
                    assert prediction.prompt_nats == pytest.approx(nats_T.tolist(), abs=1e-3)
                heard += 1
                if rng.random() < 0.8 and len(text) < 20:
                    token = rng.randrange(61)
                    text.append(token)
                    prediction.tell(token)
                else:
                    batch.remove(prediction)
                    texts[predictions.index(prediction)] = fresh = [rng.randrange(61)]
                    predictions[predictions.index(prediction)] = batch.predict(fresh)
        for number, writing in enumerate(writings):
            alone = Generation(decoder, [*common, number], GREEDY, None)
            while alone.step() is not None:
                pass
            assert writing.produced == alone.produced


def test_a_prediction_rests_until_it_is_told(make_kernel: MakeKernel) -> None:
    batch = Batch(make_kernel(), end_id=None)
    prediction = batch.predict([1, 2])
    assert len(batch.step()) == 1
    assert batch.step() == []
    assert batch.step([prediction]) == []
    prediction.tell(3)
    assert len(batch.step()) == 1


def test_a_prediction_that_fills_the_context_leaves_room_for_others(
    make_kernel: MakeKernel,
) -> None:
    decoder = make_kernel()
    batch = Batch(decoder, end_id=None)
    first = batch.add([1], GREEDY)
    text = list(range(24))  # the context
    full = batch.predict(text[:23])
    last = batch.add([2], GREEDY)
    batch.step()
    full.tell(23)
    (logits_V,) = [each.logits_V for each in batch.step() if each.writing is full]
    assert logits_V is not None
    expected_V = log_probs(decoder, text)[-1]
    ours_V = logits_V.double().log_softmax(-1)
    torch.testing.assert_close(ours_V, expected_V, atol=2e-4, rtol=1e-5)
    while len(batch):
        batch.step()
    assert len(first.produced) == len(last.produced) == 8


def test_what_is_no_prompt_is_refused(make_kernel: MakeKernel) -> None:
    batch = Batch(make_kernel(), end_id=None)
    for prompt, kind in (([], InvalidPrompt), ([1] * 25, InvalidPrompt), ([61], InvalidRequest)):
        with pytest.raises(kind):
            batch.predict(prompt)
    assert len(batch) == 0
