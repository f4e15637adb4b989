"""What minutes buy, and that both sides of the claim pay the same."""

import pytest

from benchmarks.claim.plan import Recipe, make_plan
from constellation.errors import ConfigError


@pytest.mark.parametrize("num_domains", [2, 8, 13, 40])
def test_the_dense_model_sees_as_many_tokens_as_seed_and_branches(num_domains: int) -> None:
    plan = make_plan(40, num_domains=num_domains, num_seeds=3)
    together = plan.seed_step().steps + num_domains * plan.branch_step().steps
    assert plan.dense_step().steps == together
    assert plan.dense_step().batch_size == plan.seed_step().batch_size
    assert plan.branch_step().batch_size == plan.seed_step().batch_size


def test_twice_the_minutes_buy_twice_the_steps() -> None:
    once = make_plan(20, num_domains=8, num_seeds=3)
    twice = make_plan(40, num_domains=8, num_seeds=3)
    assert twice.total_steps == pytest.approx(2 * once.total_steps, rel=0.01)


def test_too_few_minutes_are_refused_with_a_way_out() -> None:
    with pytest.raises(ConfigError, match="more minutes or fewer seeds"):
        make_plan(0.01, num_domains=8, num_seeds=3)


def test_a_share_outside_its_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="branch_share in"):
        Recipe(branch_share=1.0)
    with pytest.raises(ConfigError, match="replay_share in"):
        Recipe(replay_share=1.0)
