"""Tokens drawn for all rows at once are, to the bit, those that each row draws alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from constellation.kernel.writing import batch
from constellation.kernel.writing.batch import Batch
from constellation.kernel.writing.batched_sampling import (
    Drawn,
    _brought,
    _draw_each,
    _draw_together,
    draw,
)
from constellation.kernel.writing.sampling import Sampler
from constellation.records import Sampling
from tests.kernel.conftest import MakeKernel
from tests.kernel.text_stories import stories

V = 37
END = 0

options = st.builds(
    Sampling,
    temperature=st.one_of(st.just(0.0), st.floats(0.05, 2)),
    seed=st.integers(0, 2**63 - 1),
    top_k=st.one_of(st.none(), st.integers(1, V + 3)),
    top_p=st.one_of(st.just(1.0), st.floats(1e-6, 1)),
    min_p=st.one_of(st.just(0.0), st.floats(0, 0.9)),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.7]),
    presence_penalty=st.sampled_from([0.0, 0.3, -0.7]),
    frequency_penalty=st.sampled_from([0.0, 0.1, -0.2]),
    logit_bias=st.dictionaries(st.integers(0, V - 1), st.floats(-5, 5, width=32), max_size=3),
    tokens_min=st.integers(0, 8),
    tokens_max=st.just(64),
    logprobs=st.one_of(st.none(), st.integers(0, 5)),
)
histories = st.lists(st.integers(0, V - 1), max_size=12)


def sampler(sampling: Sampling, written: list[int]) -> Sampler:
    made = Sampler(sampling, [1, 2, 3], END, V)
    made.resume(written)
    return made


@given(st.lists(st.tuples(options, histories), min_size=1, max_size=6), st.integers(0, 99))
def test_rows_together_draw_what_each_draws_alone(
    rows: list[tuple[Sampling, list[int]]], seed: int
) -> None:
    logits_RV = torch.randn(len(rows), V, generator=torch.Generator().manual_seed(seed)) * 4
    before_RV = logits_RV.clone()
    alone = _draw_each(logits_RV, [sampler(*row) for row in rows])
    together = _draw_together(logits_RV, [sampler(*row) for row in rows])
    assert torch.equal(logits_RV, before_RV)
    for (sampling, _), one, other in zip(rows, alone, together, strict=True):
        assert isinstance(one, Drawn)
        assert isinstance(other, Drawn)
        assert other.token == one.token
        assert (other.logprob is None) == (sampling.logprobs is None)
        if one.logprob is not None:
            assert other.logprob == pytest.approx(one.logprob, abs=1e-12)
            assert other.top == one.top


@pytest.mark.parametrize("vocab_size", [4_096, 32_003])
def test_large_vocabularies_draw_the_same_together(vocab_size: int) -> None:
    samplings = [
        Sampling(temperature=1.0, seed=seed, top_k=top_k, top_p=top_p)
        for seed, top_k, top_p in ((1, None, 1.0), (2, 50, 1.0), (3, None, 0.9), (4, 400, 0.5))
    ]
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        logits_RV = torch.randn(4, vocab_size, generator=generator) * 3
        samplers = [Sampler(sampling, [1], None, vocab_size) for sampling in samplings]
        assert _draw_together(logits_RV, samplers) == _draw_each(logits_RV, samplers)


def test_a_batch_draws_together_what_it_draws_row_by_row(
    make_kernel: MakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a device, but in torch's real inference mode, which a thread does not inherit."""
    decoder = make_kernel().eval()
    alone = [stories(Batch(decoder, end_id=0), seed=seed) for seed in range(2)]
    monkeypatch.setattr(batch, "draw", _draw_together)
    assert [stories(Batch(decoder, end_id=0), seed=seed) for seed in range(2)] == alone


def test_the_noise_is_that_of_multinomial() -> None:
    p_V = torch.rand(V, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for seed in range(50):
        noise_V = torch.empty(V, dtype=torch.float64)
        sampler(Sampling(seed=seed), [5]).fill_noise(noise_V)
        alone = sampler(Sampling(seed=seed, temperature=1.0), [5])
        assert int((p_V / noise_V).argmax()) == alone.pick(p_V.log())


def test_rows_without_a_sampler_return_their_logits() -> None:
    logits_RV = torch.randn(3, V, generator=torch.Generator().manual_seed(2))
    greedy = Sampler(Sampling(temperature=0.0), [1], END, V)
    for drawn in (
        draw(logits_RV, [None, greedy, None]),
        _draw_together(logits_RV, [None, greedy, None]),
    ):
        assert isinstance(drawn[0], Tensor)
        assert isinstance(drawn[2], Tensor)
        assert torch.equal(drawn[0], logits_RV[0])
        assert torch.equal(drawn[2], logits_RV[2])
        assert drawn[1] == Drawn(int(logits_RV[1].argmax()))


def test_tensors_of_several_kinds_are_brought_as_one() -> None:
    parts = [torch.randn(3, 5, dtype=torch.float64), torch.randn(2, 7)]
    for brought, part in zip(_brought(parts), parts, strict=True):
        assert torch.equal(brought, part)
