"""The draw follows its options, and refuses those that make no sense."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import InvalidRequest
from constellation.kernel.writing.sampling import Sampler, generator_for, logprobs_of, pick
from constellation.records import Sampling


def draws(logits: list[float], sampling: Sampling, num: int = 400, **options: object) -> list[int]:
    generator = torch.Generator().manual_seed(0)
    return [
        pick(torch.tensor(logits), sampling, generator=generator, **options)  # type: ignore[arg-type]
        for _ in range(num)
    ]


def logs(*probabilities: float) -> list[float]:
    return [math.log(p) for p in probabilities]


def test_frequencies_follow_the_probabilities() -> None:
    drawn = draws(logs(0.6, 0.3, 0.1), Sampling(temperature=1), 3000)
    # Three standard errors of a share at 3,000 draws are below 0.03.
    assert [drawn.count(k) / 3000 for k in range(3)] == pytest.approx([0.6, 0.3, 0.1], abs=0.03)


def test_temperature_flattens() -> None:
    drawn = draws(logs(0.6, 0.3, 0.1), Sampling(temperature=2), 3000)
    roots = [math.sqrt(p) for p in (0.6, 0.3, 0.1)]
    expected = [root / sum(roots) for root in roots]
    assert [drawn.count(k) / 3000 for k in range(3)] == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("temperature", [0, 1e-30, 1e-4])
def test_cold_draws_take_the_likeliest(temperature: float) -> None:
    assert set(draws([0.1, 3.0, 2.9, -9.0], Sampling(temperature=temperature), 20)) == {1}


def test_top_k_keeps_the_k_likeliest() -> None:
    assert set(draws(logs(0.1, 0.4, 0.2, 0.3), Sampling(temperature=1, top_k=2))) == {1, 3}


def test_top_k_beyond_the_vocabulary_keeps_all() -> None:
    assert set(draws(logs(0.5, 0.5), Sampling(temperature=1, top_k=9))) == {0, 1}


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.39, {1}), (0.41, {1, 3}), (0.69, {1, 3}), (0.95, {0, 1, 2, 3})]
)
def test_top_p_keeps_the_fewest_that_reach_it(top_p: float, kept: set[int]) -> None:
    assert set(draws(logs(0.1, 0.4, 0.2, 0.3), Sampling(temperature=1, top_p=top_p))) == kept


def test_min_p_is_a_share_of_the_likeliest() -> None:
    assert set(draws(logs(0.1, 0.4, 0.2, 0.3), Sampling(temperature=1, min_p=0.6))) == {1, 3}


@pytest.mark.parametrize("options", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 0.999}])
def test_the_strictest_options_leave_the_likeliest(options: dict[str, float]) -> None:
    sampling = Sampling(temperature=2, **options)  # type: ignore[arg-type]
    assert set(draws([0.0, 1.0, 0.5], sampling, 50)) == {1}


@pytest.mark.parametrize(("logits", "winner"), [([2.0, 1.5], 1), ([-1.0, -1.5], 1)])
def test_the_repetition_penalty_weighs_down_what_was_seen(logits: list[float], winner: int) -> None:
    greedy = Sampling(temperature=0, repetition_penalty=2)
    assert draws(logits, greedy, 1) == [0]
    assert draws(logits, greedy, 1, seen=[0, 0]) == [winner]


def test_the_logits_are_left_as_they_are() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0])
    sampling = Sampling(top_k=2, top_p=0.9, min_p=0.1, repetition_penalty=2)
    pick(logits, sampling, generator=generator_for(sampling), seen=[0])
    assert logits.tolist() == [2.0, 1.0, 0.0]


@given(
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=9),
    st.floats(0, 2),
    st.integers(1, 12),
    st.floats(1e-6, 1),
    st.floats(0, 0.99),
)
def test_any_allowed_options_draw_a_token(
    logits: list[float], temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=1)
    logits_V = torch.tensor(logits)
    first, again = (pick(logits_V, sampling, generator=generator_for(sampling)) for _ in range(2))
    assert first == again
    assert 0 <= first < len(logits)


def test_no_seed_draws_differently_each_time() -> None:
    states = [generator_for(Sampling()).initial_seed() for _ in range(3)]
    assert len(set(states)) == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tokens_max", 0),
        ("tokens_max", 4097),
        ("tokens_max", 2.0),
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_k", 0),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("top_p", math.nan),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", math.nan),
        ("repetition_penalty", "1"),
        ("seed", -1),
        ("seed", 2**63),
        ("seed", True),
    ],
)
def test_options_out_of_range_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Sampling(**{field: value})  # type: ignore[arg-type]
    assert caught.value.field == field


# --- against numpy --------------------------------------------------------------------------------


def changed_by_numpy(
    logits: list[float], sampling: Sampling, prompt: list[int], written: list[int], end: int
) -> np.ndarray:
    """Return the probabilities that the options leave, computed the plain way."""
    values = np.array(logits, dtype=np.float64)
    for token, bias in sampling.logit_bias.items():
        values[token] += bias
    for token in {*prompt, *written}:
        penalty = sampling.repetition_penalty
        values[token] = values[token] / penalty if values[token] > 0 else values[token] * penalty
    for token in set(written):
        values[token] -= sampling.presence_penalty
        values[token] -= sampling.frequency_penalty * written.count(token)
    if len(written) < sampling.tokens_min:
        values[end] = -np.inf
    values = (values - values.max()) / sampling.temperature
    p = np.exp(values) / np.exp(values).sum()
    if sampling.top_k is not None:
        p[p < np.sort(p)[::-1][: sampling.top_k][-1]] = 0
    if sampling.top_p < 1:
        order = np.argsort(-p, kind="stable")
        mass = np.cumsum(p[order] / p.sum())
        p[order[1:][mass[:-1] >= sampling.top_p]] = 0
    p[p < p.max() * sampling.min_p] = 0
    return p / p.sum()


OPTIONS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.5},
    {"repetition_penalty": 1.7},
    {"presence_penalty": 1.5},
    {"presence_penalty": -1.5},
    {"frequency_penalty": 0.7},
    {"logit_bias": {0: 2.0, 4: -3.0}},
    {"tokens_min": 9},
    {"top_k": 3},
    {"top_p": 0.7},
    {"min_p": 0.3},
    {
        "repetition_penalty": 0.8,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.4,
        "logit_bias": {1: 1.0},
        "tokens_min": 9,
        "top_k": 5,
        "top_p": 0.9,
        "min_p": 0.05,
        "temperature": 1.3,
    },
]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(options) or "none")
def test_draws_follow_what_numpy_computes(options: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = (2 * rng.standard_normal(7)).astype(np.float32).tolist()
    sampling = Sampling(**{"temperature": 1.0, **options})
    prompt, written, end = [0, 5], [3, 3, 1, 3], 6
    expected = changed_by_numpy(logits, sampling, prompt, written, end)
    drawn = []
    for draw in range(1500):  # what one sampler draws is a function of its seed and place
        sampler = Sampler(replace(sampling, seed=1500 * seed + draw), prompt, end, 7)
        for token in written:
            sampler.note(token)
        drawn.append(sampler.pick(torch.tensor(logits)))
    shares = np.bincount(drawn, minlength=7) / 1500
    assert not shares[expected == 0].any()
    # Four standard errors of a share at 1,500 draws are below 0.052.
    assert np.abs(shares - expected).max() < 0.052


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_the_draws_along_an_answer_are_as_good_as_independent(seed: int) -> None:
    """At successive places: every token and every pair of neighbours as often as it should be."""
    sampler, num_draws = Sampler(Sampling(temperature=1.0, seed=seed), [0], None, 4), 4000
    drawn = []
    for _ in range(num_draws):
        drawn.append(sampler.pick(torch.zeros(4)))
        sampler.note(drawn[-1])
    pairs = np.bincount(4 * np.array(drawn[:-1]) + np.array(drawn[1:]), minlength=16)
    # Five standard errors of a share of 1/16.
    assert np.abs(pairs / num_draws - 1 / 16).max() < 5 * math.sqrt(15 / 16**2 / num_draws)


@pytest.mark.parametrize("seed", range(3))
def test_a_draw_depends_on_seed_and_place_and_not_on_who_drew_before(seed: int) -> None:
    logits_TV = torch.tensor(np.random.default_rng(seed).standard_normal((12, 50)))
    sampling = Sampling(temperature=1.0, seed=seed, presence_penalty=0.5, tokens_min=6)
    first = Sampler(sampling, [0], 49, 50)
    whole = []
    for logits_V in logits_TV:
        whole.append(first.pick(logits_V))
        first.note(whole[-1])
    for num_before in range(12):
        other = Sampler(sampling, [0], 49, 50)
        for token in whole[:num_before]:
            other.note(token)
        assert other.pick(logits_TV[num_before]) == whole[num_before]


@pytest.mark.parametrize("options", OPTIONS[:8], ids=lambda options: "+".join(options) or "none")
def test_at_temperature_0_the_likeliest_is_taken(options: dict[str, Any]) -> None:
    for seed in range(20):
        logits = np.random.default_rng(seed).standard_normal(7).astype(np.float32).tolist()
        sampler = Sampler(Sampling(**{**options, "temperature": 0}), [0, 5], 6, 7)
        for token in (3, 3, 1, 3):
            sampler.note(token)
        warm = Sampling(**{**options, "temperature": 1.0})
        expected = changed_by_numpy(logits, warm, [0, 5], [3, 3, 1, 3], 6)
        assert sampler.pick(torch.tensor(logits)) == int(expected.argmax())
        assert sampler.is_greedy == (set(options) <= {"temperature"})


@pytest.mark.parametrize("field", ["prompt_ids", "logit_bias"])
def test_unknown_tokens_are_refused_by_field(field: str) -> None:
    bias = {7: 1.0} if field == "logit_bias" else {}
    prompt = [0, 7] if field == "prompt_ids" else [0]
    with pytest.raises(InvalidRequest, match="7") as caught:
        Sampler(Sampling(logit_bias=bias), prompt, None, 7)
    assert caught.value.field == field


def test_logprobs_are_those_of_the_logits_as_they_are() -> None:
    logits = np.random.default_rng(5).standard_normal(7)
    log_p = logits - np.log(np.exp(logits).sum())
    logprob, top = logprobs_of(torch.tensor(logits), 4, 20)
    assert logprob == pytest.approx(log_p[4])
    assert [token for token, _ in top] == np.argsort(-log_p).tolist()
    assert [value for _, value in top] == pytest.approx(np.sort(log_p)[::-1].tolist())
