"""One step: the schedule, the clip, and equality with plain PyTorch and with several workers."""

import itertools
import math

import pytest
import torch
from pydantic import ValidationError

from constellation.errors import ConfigError
from tests.training import tiny
from tests.training.peers import run_together
from training.loop.step import (
    Alone,
    Peers,
    StepConfig,
    Stepper,
    build_optimiser,
    choose_device,
    learning_rate,
    use_bfloat16,
)

CONFIG = StepConfig(steps=40, batch_size=6, learning_rate=1e-2, warmup_steps=4, precision="float32")


def test_the_rate_warms_up_peaks_and_falls_to_its_final_share() -> None:
    config = tiny.changed(CONFIG, final_share=0.2)
    rates = [learning_rate(config, step) for step in range(40)]
    assert rates[:5] == pytest.approx([2e-3, 4e-3, 6e-3, 8e-3, 1e-2])
    assert all(a > b for a, b in itertools.pairwise(rates[4:]))
    assert rates[-1] == pytest.approx(2e-3)
    middle = 4 + (39 - 4) / 2
    assert learning_rate(config, int(middle)) == pytest.approx(
        1e-2 * (0.2 + 0.4 * (1 + math.cos(math.pi * (int(middle) - 4) / 35)))
    )


@pytest.mark.parametrize("warmup", [0, 40, 100])
def test_any_warmup_gives_rates_within_bounds(warmup: int) -> None:
    rates = [learning_rate(tiny.changed(CONFIG, warmup_steps=warmup), step) for step in range(40)]
    assert all(0 < rate <= 1e-2 for rate in rates)


@pytest.mark.parametrize(
    "change",
    [{"steps": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"final_share": 1.5}],
)
def test_settings_out_of_range_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        tiny.changed(CONFIG, **change)


def test_steps_equal_plain_pytorch() -> None:
    ours, plain = tiny.decoder(), tiny.decoder()
    stepper = Stepper(ours, CONFIG, Alone())
    optimiser = torch.optim.AdamW(
        plain.parameter_groups(weight_decay=0.1), betas=(0.9, 0.95), fused=True
    )
    windows = tiny.windows()
    for index in range(5):
        batch = windows.batch(index, 6)
        result = stepper.step(*batch, index, stop=False)
        optimiser.zero_grad()
        loss = plain.loss(*batch)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(CONFIG, index)
        optimiser.step()
        assert result.loss_nats == pytest.approx(float(loss.detach()), rel=1e-6)
        assert result.gradient_norm == pytest.approx(float(norm), rel=1e-5)
    for (name, a), (_, b) in zip(ours.named_parameters(), plain.named_parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=name)


def test_steps_equal_plain_adamw_bit_for_bit() -> None:
    """Guards, terms and parts that are off cost not even a rounding."""
    ours, plain = tiny.decoder(), tiny.decoder()
    stepper = Stepper(ours, CONFIG, Alone())
    optimiser = torch.optim.AdamW(
        plain.parameter_groups(weight_decay=0.1), betas=(0.9, 0.95), fused=True
    )
    for index in range(20):
        batch = tiny.windows().batch(index, 6)
        stepper.step(*batch, index, stop=False)
        optimiser.zero_grad()
        plain.loss(*batch).backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in plain.parameters() if p.grad is not None]
        norm = float(torch.linalg.vector_norm(torch.cat([g.flatten() for g in gradients])))
        for gradient in gradients:
            gradient.mul_(1.0 / norm if norm > 1.0 else 1.0)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(CONFIG, index)
        optimiser.step()
    for (name, a), (_, b) in zip(ours.named_parameters(), plain.named_parameters(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("parts", [2, 3, 4, 9])
def test_a_batch_in_parts_gives_the_steps_of_the_whole(parts: int) -> None:
    """Also where parts are unequal, and where there are more of them than sequences."""
    kernels, losses = [], []
    for accumulation_steps in (1, parts):
        kernels.append(tiny.decoder())
        config = tiny.changed(CONFIG, accumulation_steps=accumulation_steps)
        stepper = Stepper(kernels[-1], config, Alone())
        batches = [tiny.windows().batch(index, 6) for index in range(8)]
        results = [stepper.step(*b, i, stop=False) for i, b in enumerate(batches)]
        losses.append([result.loss_nats for result in results])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    for a, b in zip(kernels[0].parameters(), kernels[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-3)


@pytest.mark.parametrize("kind", ["muon", "diagonal_fisher"])
def test_every_rule_learns(kind: str) -> None:
    rate = {"muon": 1e-2, "diagonal_fisher": 1e-4}[kind]
    config = tiny.changed(CONFIG, kind=kind, learning_rate=rate)
    stepper = Stepper(tiny.decoder(), config, Alone())
    batches = [tiny.windows().batch(index, 6) for index in range(40)]
    losses = [stepper.step(*b, i, stop=False).loss_nats for i, b in enumerate(batches)]
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what is refused without an accelerator")
def test_a_device_that_is_not_there_is_refused() -> None:
    assert choose_device("auto").type == choose_device("cpu").type == "cpu"
    with pytest.raises(ConfigError, match="torch sees no such device"):
        choose_device("cuda")


@pytest.mark.parametrize("world", [2, 4])
def test_several_workers_have_the_loss_curve_of_one(world: int) -> None:
    """The batch of 6 does not divide evenly among 4: shares, not means, must be summed."""
    windows = tiny.windows()
    alone = tiny.decoder()
    stepper = Stepper(alone, CONFIG, Alone())
    expected = [stepper.step(*windows.batch(i, 6), i, stop=False).loss_nats for i in range(8)]
    decoders = [tiny.decoder() for _ in range(world)]

    def work(peers: Peers) -> list[float]:
        mine = Stepper(decoders[peers.rank], CONFIG, peers)
        return [
            mine.step(*windows.batch(i, 6, rank=peers.rank, world=world), i, stop=False).loss_nats
            for i in range(8)
        ]

    losses = run_together(world, work)
    for rank in range(world):
        assert losses[rank] == pytest.approx(expected, rel=1e-4)
        for a, b in zip(decoders[rank].parameters(), decoders[0].parameters(), strict=True):
            assert torch.equal(a, b)


def test_one_worker_that_wants_to_stop_stops_all() -> None:
    def work(peers: Peers) -> bool:
        stepper = Stepper(tiny.decoder(), CONFIG, peers)
        batch = tiny.windows().batch(0, 6, rank=peers.rank, world=2)
        return stepper.step(*batch, 0, stop=peers.rank == 1).stop

    assert run_together(2, work) == [True, True]


def test_bfloat16_is_chosen_by_the_processor_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert use_bfloat16("bfloat16")
    assert not use_bfloat16("float32")
    for capabilities, expected in (
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"avx512_bf16": False}, False),
        ({}, False),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda c=capabilities: c, raising=False)
        assert use_bfloat16("auto") is expected


def test_bfloat16_steps_learn_as_float32_steps_do() -> None:
    final = {}
    for precision in ("float32", "bfloat16"):
        decoder = tiny.decoder()
        stepper = Stepper(decoder, tiny.changed(CONFIG, precision=precision), Alone())
        losses = [
            stepper.step(*tiny.windows().batch(i, 6), i, stop=False).loss_nats for i in range(40)
        ]
        final[precision] = sum(losses[-5:]) / 5
        assert final[precision] < 0.8 * losses[0]
    assert final["bfloat16"] == pytest.approx(final["float32"], rel=0.05)


def test_couplings_are_left_out_of_weight_decay() -> None:
    """A decayed log-coupling would be pulled to kappa = 1, whatever the data say."""
    decoder = tiny.decoder()
    groups = build_optimiser(decoder, tiny.changed(CONFIG, weight_decay=0.5)).param_groups
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decoder.coupling is not None
    assert {decays[id(p)] for p in decoder.coupling.parameters()} == {0}
    assert decays[id(decoder.embedding)] == 0.5
    assert len(decays) == len(list(decoder.parameters()))
