"""Every term: its gradient where it is on, nothing at all where it is off."""

import json
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from constellation.coordizer.basin_estimator import BasinEstimator
from constellation.errors import ConfigError
from constellation.geometry import distance, geodesic, hellinger_mean
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.loss import output_entropy_nats
from tests.training import tiny
from tests.training.peers import run_together
from training.basin_targets import FixedBasin, basin_target
from training.loop.objective import PRESETS, Objective, ObjectiveConfig
from training.loop.phi_surrogate import phi_surrogate
from training.loop.step import Alone, Peers, StepConfig, Stepper

K = 5
CONFIG = replace(tiny.CONFIG, basin_outcomes=K)
STEP = StepConfig(steps=9, batch_size=6, learning_rate=1e-2, precision="float32")

TERMS: dict[str, ObjectiveConfig] = {
    "basin": ObjectiveConfig(lambda_basin=2.0),
    "phi": ObjectiveConfig(lambda_phi=1.0),
    "kappa": ObjectiveConfig(lambda_kappa=0.1, kappa_target=3.0),
    "beta": ObjectiveConfig(lambda_beta=1.5, beta_target=0.2),
    "entropy": ObjectiveConfig(lambda_entropy=1.0, entropy_floor_nats=6.0),
    "basin_step": ObjectiveConfig(lambda_step=1.0, step_cap_radians=0.0),
}
READS: dict[str, set[str]] = {
    "basin": {"basin_head.weight", "embedding", "coupling.log_kappa_NH"},
    "phi": {"embedding", "blocks.0.down.weight", "norm.weight"},
    "kappa": {"coupling.log_kappa_NH"},
    "beta": {"coupling.beta_NH"},
    "entropy": {"embedding", "norm.weight"},
    "basin_step": {"basin_head.weight", "embedding"},
}
"""Some of the parameters that a term must reach."""


def decoder() -> Decoder:
    """A kernel some way into training: at the very start several terms are at their minimum."""
    made = Decoder(CONFIG, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
    return made


def target_basins(tokens_BT: Tensor) -> Tensor:
    return torch.softmax(tokens_BT[:, :K].float() / 9, -1)


def objective(config: ObjectiveConfig, kernel: Decoder) -> Objective:
    made = Objective(config, kernel, basin_target=target_basins)
    if config.lambda_step > 0:
        made.restore({"last_basin": [0.6, 0.1, 0.1, 0.1, 0.1]})
    return made


def batch() -> tuple[Tensor, Tensor]:
    return tiny.windows().batch(0, 6)


def gradients(config: ObjectiveConfig, kernel: Decoder) -> dict[str, Tensor | None]:
    kernel.zero_grad()
    objective(config, kernel)(*batch()).loss.backward()  # type: ignore[no-untyped-call]
    return {name: p.grad for name, p in kernel.named_parameters()}


@pytest.mark.parametrize("name", TERMS)
def test_a_term_that_is_on_has_a_gradient_and_no_other_is_computed(name: str) -> None:
    config = TERMS[name].model_copy(update={"lambda_lm": 0.0})
    kernel = decoder()
    evaluated = objective(config, kernel)
    assert evaluated.terms == (name,)
    found = gradients(config, kernel)
    reached = {name for name, gradient in found.items() if gradient is not None and gradient.any()}
    assert READS[name] <= reached
    if name in {"kappa", "beta"}:
        assert reached == READS[name]


@pytest.mark.parametrize("name", TERMS)
def test_the_gradient_of_a_term_is_that_of_finite_differences(name: str) -> None:
    kernel = decoder()
    config = TERMS[name].model_copy(update={"lambda_lm": 0.0})
    found = gradients(config, kernel)
    generator = torch.Generator().manual_seed(7)
    directions = {n: torch.randn(p.shape, generator=generator) for n, p in named(kernel)}
    expected = sum(
        float((gradient * directions[n]).sum())
        for n, gradient in found.items()
        if gradient is not None
    )
    step = 2e-4
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            for n, parameter in named(kernel):
                parameter.add_(directions[n], alpha=sign * step)
            ends.append(float(objective(config, kernel)(*batch()).loss.detach()))
            for n, parameter in named(kernel):
                parameter.sub_(directions[n], alpha=sign * step)
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(expected, rel=0.03)


def named(kernel: Decoder) -> list[tuple[str, torch.nn.Parameter]]:
    return list(kernel.named_parameters())


def test_without_terms_the_loss_is_the_decoders_own_bit_for_bit() -> None:
    one, two = decoder(), decoder()
    found = gradients(ObjectiveConfig(), one)
    loss = two.loss(*batch())
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in two.named_parameters():
        mine = found[name]
        assert (mine is None) == (parameter.grad is None), "the basin head is not touched"
        assert mine is None or torch.equal(mine, parameter.grad)  # type: ignore[arg-type]
    assert Objective(ObjectiveConfig(), one).num_extra == 0


def test_the_weighted_sum_is_what_is_differentiated() -> None:
    kernel = decoder()
    config = ObjectiveConfig(lambda_lm=0.5, lambda_beta=3.0, beta_target=0.2, lambda_phi=2.0)
    evaluated = objective(config, kernel)(*batch())
    assert evaluated.extra_E is not None
    phi, beta = evaluated.extra_E.tolist()
    expected = 0.5 * float(evaluated.nats) + 2.0 * phi + 3.0 * beta
    assert float(evaluated.loss.detach()) == pytest.approx(expected, rel=1e-6)
    assert float(evaluated.nats) == pytest.approx(float(kernel.loss(*batch()).detach()), rel=1e-6)


def trained(config: ObjectiveConfig, value: Callable[[Decoder], float], steps: int = 60) -> float:
    """Return how far training on this objective brought a value down."""
    kernel = Decoder(CONFIG, seed=0)
    with torch.no_grad():
        assert kernel.coupling is not None
        kernel.coupling.beta_NH += 0.5
        kernel.coupling.log_kappa_NH += 0.5
    stepper = Stepper(kernel, tiny.changed(STEP, steps=steps), Alone(), objective(config, kernel))
    before = value(kernel)
    for index in range(steps):
        stepper.step(*tiny.windows().batch(index, 6), index, stop=False)
    return before - value(kernel)


def basin_gap(kernel: Decoder) -> float:
    inputs, _ = batch()
    with torch.no_grad():
        return float(distance(kernel.basin(kernel.hidden(inputs)), target_basins(inputs)).mean())


def test_training_brings_the_basin_head_to_its_target() -> None:
    assert trained(ObjectiveConfig(lambda_basin=2.0), basin_gap) > 0.3


def test_training_brings_slopes_and_couplings_to_their_targets() -> None:
    def slope(kernel: Decoder) -> float:
        assert kernel.coupling is not None
        return float(kernel.coupling.beta_NH.detach().abs().mean())

    def coupling(kernel: Decoder) -> float:
        assert kernel.coupling is not None
        return float((kernel.coupling.log_kappa_NH.detach() - math.log(10)).abs().mean())

    assert trained(ObjectiveConfig(lambda_lm=0.0, lambda_beta=1.0), slope) > 0.3
    assert trained(ObjectiveConfig(lambda_lm=0.0, lambda_kappa=1.0), coupling) > 0.3


def test_entropy_above_its_floor_and_steps_below_their_cap_cost_nothing() -> None:
    kernel = decoder()
    free = ObjectiveConfig(lambda_lm=0.0, lambda_entropy=1.0, entropy_floor_nats=0.0)
    assert float(objective(free, kernel)(*batch()).loss.detach()) == 0
    capped = ObjectiveConfig(lambda_lm=0.0, lambda_step=1.0, step_cap_radians=4.0)
    assert float(objective(capped, kernel)(*batch()).loss.detach()) == 0


def test_the_first_batch_has_no_step_and_the_next_is_measured_from_it() -> None:
    kernel = decoder()
    made = Objective(ObjectiveConfig(lambda_step=1.0, step_cap_radians=0.0), kernel)
    first = made(*batch())
    assert first.extra_E is not None
    assert made.took(first.extra_E) == {"basin_step": 0.0}
    inputs, targets = tiny.windows().batch(1, 6)
    second = made(inputs, targets)
    assert second.extra_E is not None
    with torch.no_grad():
        means = [hellinger_mean(kernel.basin(kernel.hidden(x))) for x in (batch()[0], inputs)]
    assert float(second.extra_E[0]) == pytest.approx(
        float(distance(means[0], means[1])) ** 2, rel=1e-4
    )


@pytest.mark.parametrize("name", [name for name in TERMS if name != "basin_step"])
def test_several_workers_and_parts_give_the_step_of_one(name: str) -> None:
    def losses(peers: Peers, parts: int) -> tuple[list[float], list[Tensor]]:
        kernel = decoder()
        config = tiny.changed(STEP, accumulation_steps=parts)
        stepper = Stepper(kernel, config, peers, objective(TERMS[name], kernel))
        values = []
        for i in range(3):
            part = tiny.windows().batch(i, 6, rank=peers.rank, world=peers.world)
            result = stepper.step(*part, i, stop=False)
            values += [result.loss_nats, result.terms[name], result.gradient_norm]
        return values, [p.detach() for p in kernel.parameters()]

    expected, weights = losses(Alone(), 1)
    for found, others in [losses(Alone(), 3), *run_together(2, lambda peers: losses(peers, 1))]:
        assert found == pytest.approx(expected, rel=2e-3)
        for mine, theirs in zip(others, weights, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=3e-3)


@pytest.mark.parametrize(
    ("config", "shape", "message"),
    [
        (TERMS["basin"], tiny.CONFIG, "basin head"),
        (TERMS["basin_step"], tiny.CONFIG, "basin head"),
        (TERMS["kappa"], replace(tiny.CONFIG, attention="dot"), "`dot`"),
        (TERMS["beta"], replace(tiny.CONFIG, beta_frozen=0.1), "learns none"),
        (TERMS["basin"], CONFIG, "no basin target"),
    ],
)
def test_a_term_without_its_parameters_is_refused(
    config: ObjectiveConfig, shape: object, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Objective(config, Decoder(shape))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [{"lambda_lm": 0.0}, {"lambda_phi": -1.0}, {"lambda_basin": math.nan}, {"phi_target": 1.0}],
)
def test_settings_out_of_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises((ConfigError, ValidationError)):
        ObjectiveConfig(**values)


def test_the_presets_carry_the_weights_of_the_systems() -> None:
    def on(name: str) -> dict[str, float]:
        values = PRESETS[name].model_dump(exclude={"preset", "basin_target"}).items()
        return {key: value for key, value in values if key.startswith("lambda_") and value > 0}

    assert on("s1") == {
        "lambda_lm": 1.0,
        "lambda_kappa": 1e-5,
        "lambda_phi": 1e-4,
        "lambda_entropy": 1e-3,
        "lambda_step": 1e-3,
    }
    assert on("s2") == {
        "lambda_lm": 1.0,
        "lambda_basin": 2.0,
        "lambda_phi": 1.0,
        "lambda_beta": 1.5,
    }


def test_state_goes_through_json_to_the_same_bits() -> None:
    one, two = (objective(TERMS["basin_step"], decoder()) for _ in range(2))
    extra = one(*batch()).extra_E
    assert extra is not None
    one.took(extra)
    two.restore(json.loads(json.dumps(one.state())))
    a, b = one(*batch()).extra_E, two(*batch()).extra_E
    assert a is not None
    assert b is not None
    assert torch.equal(a, b)


# --- targets and the surrogate -------------------------------------------------------------------


def test_texts_have_the_basins_of_the_coordizers_fold() -> None:
    random = np.random.default_rng(0)
    coordinates = random.dirichlet(np.ones(K), size=64).astype(np.float32)
    estimator = BasinEstimator(coordinates, np.full(K, 1 / K))

    class Coordinates:
        def basin(self, ids: object) -> object:
            return estimator.basin(ids)  # type: ignore[arg-type]

    from training.basin_targets import TextBasins

    inputs, _ = batch()
    found = TextBasins(Coordinates())(inputs)  # type: ignore[arg-type]
    assert found.dtype == torch.float32
    for row, basin in zip(inputs.numpy(), found, strict=True):
        assert basin.numpy() == pytest.approx(estimator.basin(row), abs=1e-6)


def test_a_fixed_basin_serves_every_text_and_must_be_one() -> None:
    inputs, _ = batch()
    target = basin_target(fixed_basin_K=(0.25, 0.75), coordizer_folder=None)
    assert torch.equal(target(inputs), torch.tensor([[0.25, 0.75]]).expand(6, 2))
    with pytest.raises(ConfigError, match="sum to 1"):
        FixedBasin((0.5, 0.9))
    with pytest.raises(ConfigError, match="nothing to pull to"):
        basin_target(fixed_basin_K=None, coordizer_folder=None)


def test_entropy_is_ln_v_when_all_tokens_are_alike_and_0_when_one_is_certain() -> None:
    weight = torch.eye(8)
    found = output_entropy_nats(torch.stack([torch.zeros(8), 100 * weight[0]]) @ weight.T)
    assert found.tolist() == pytest.approx([math.log(8), 0.0], abs=1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_surrogate_rises_with_what_groups_share(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    own, shared = (torch.randn(1, 256, n, generator=generator) for n in (32, 1))
    values = [float(phi_surrogate(own + gain * shared)) for gain in (0.0, 0.5, 2.0)]
    assert abs(values[0]) < 0.06
    assert values[0] < values[1] < values[2]
    assert values[2] > 0.8
    assert float(phi_surrogate(torch.zeros(1, 256, 32))) == pytest.approx(0, abs=0.06)


def test_one_geodesic_step_towards_the_target_lowers_the_basin_term() -> None:
    """The term is a squared distance: half the way is a quarter of it."""
    start, end = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.1, 0.3, 0.6])
    whole = distance(start, end).square()
    half = distance(geodesic(start, end, 0.5), end).square()
    assert float(half) == pytest.approx(float(whole) / 4, rel=1e-5)
