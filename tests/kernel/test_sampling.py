"""The draw follows its options, and refuses those that make no sense."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import InvalidRequest
from constellation.kernel.sampling import generator_for, pick
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
