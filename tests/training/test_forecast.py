"""What a recipe is said to take is what its own formulas, plan and schedule say."""

from pathlib import Path
from typing import Any

import pytest

from tests.training import tiny
from training.cost import StepSpeed
from training.forecast import Forecast, forecast, kernel_names, shape_of
from training.recipe import Recipe

STAGE = {"steps": 100, "batch_size": 4, "learning_rate": 1e-2}
NAMES = ("a", "b", "c", "d")
SPEED = StepSpeed(flops_per_second=1e9, seconds_per_parameter=1e-9)
GB = 10**9


def recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": "small",
        "coordizer": {"vocab_size": 300},
        "kernel": {"width": 16, "num_layers": 1, "num_heads": 2, "mlp_width": 32, "context": 16},
        "seed_stage": STAGE,
        "branch_stage": STAGE | {"steps": 50},
        "workers": {"num_workers": 3},
    }
    return Recipe.model_validate(values | changes)


def states(made: Forecast) -> list[str]:
    return [kernel.state for kernel in made.kernels]


def test_tokens_flops_and_times_add_up() -> None:
    made = forecast(recipe(), NAMES, memory_bytes=64 * GB, num_cores=8, speed=SPEED)
    assert [kernel.kernel for kernel in made.kernels] == ["seed", *NAMES]
    assert made.kernels[0].tokens == 100 * 4 * 16
    assert made.tokens == 100 * 4 * 16 + 4 * 50 * 4 * 16
    assert made.flops == sum(kernel.flops for kernel in made.kernels)
    assert made.seconds == pytest.approx(sum(kernel.seconds or 0 for kernel in made.kernels))
    parameters = shape_of(recipe()).num_parameters()
    assert {kernel.num_parameters for kernel in made.kernels} == {parameters}


def test_workers_take_branches_in_turn() -> None:
    made = forecast(recipe(), NAMES, memory_bytes=64 * GB, num_cores=8)
    assert made.kernels[0].workers == 3
    assert states(made) == ["AT ONCE", "AT ONCE", "AT ONCE", "AT ONCE", "LATER"]
    assert made.num_at_once == 3
    assert made.seconds is None
    fewer = forecast(recipe(), NAMES, memory_bytes=64 * GB, num_cores=2)
    assert fewer.num_at_once == 2


def test_a_memory_limit_of_the_recipe_stages_kernels() -> None:
    apart = recipe(mode="per-actor", workers={"num_workers": 4})
    roomy = forecast(apart, NAMES, memory_bytes=64 * GB, num_cores=4)
    assert roomy.num_at_once == 4
    each = roomy.kernels[1].memory_bytes
    limit = {"num_workers": 4, "memory_limit_gb": 2.5 * each / GB}
    tight = recipe(mode="per-actor", workers=limit)
    made = forecast(tight, NAMES, memory_bytes=64 * GB, num_cores=4)
    assert states(made)[1:] == ["AT ONCE", "AT ONCE", "LATER", "LATER"]
    assert made.fits


@pytest.mark.parametrize("mode", ["branch-train", "per-actor", "synchronized"])
def test_what_never_fits_is_told(mode: str) -> None:
    changes = {"branch_stage": None} if mode == "synchronized" else {}
    wanted = recipe(mode=mode, **changes)
    made = forecast(wanted, kernel_names_of(wanted), memory_bytes=10**6, num_cores=4)
    assert set(states(made)) == {"TOO LARGE"}
    assert made.num_at_once == 0
    assert not made.fits


def kernel_names_of(wanted: Recipe) -> tuple[str, ...]:
    return (wanted.name,) if wanted.mode == "synchronized" else NAMES


def test_one_kernel_of_all_workers() -> None:
    alone = recipe(mode="synchronized", branch_stage=None)
    made = forecast(alone, kernel_names(alone), memory_bytes=64 * GB, num_cores=8)
    assert [(k.kernel, k.workers, k.state) for k in made.kernels] == [("small", 3, "AT ONCE")]


def test_kernels_are_the_domains_of_the_text(tmp_path: Path) -> None:
    for name in ("sea", "land"):
        (tmp_path / f"{name}.txt").write_text("some text about it\n")
    assert kernel_names(recipe(corpus={"paths": [str(tmp_path)]})) == ("land", "sea")
    merged = {"merge": {"both": ["numbers", "network"], "other": ["testing"]}}
    assert kernel_names(recipe(corpus=merged)) == ("both", "other")
    found = kernel_names(recipe(corpus={"discover_domains": 12}))
    assert (found[0], found[-1], len(found)) == ("domain-01", "domain-12", 12)


def test_a_basin_head_counts() -> None:
    with_head = recipe(objective={"lambda_basin": 1.0})
    more = shape_of(with_head).num_parameters() - shape_of(recipe()).num_parameters()
    assert more == 64 * tiny.CONFIG.width
