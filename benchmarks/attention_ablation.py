"""Does the geometry of attention pay, and what does it cost?

Trains the same small character model with every kind of attention at nanoGPT's documented CPU
setting (4 layers, 4 heads, width 128, context 64, batch 12, 2,000 steps, dropout 0, learning rate
1e-3 falling to 1e-4 by a cosine after 100 warm-up steps, beta2 0.99, weight decay 0.1 on matrices,
clipping at 1; 90 % of the text for training, 20 random batches of the rest for the loss).

All kinds see the same batches of a seed and are trained side by side, a few steps of each in turn
in a changing order. `seconds` are processor seconds (`wall_seconds` stand beside them), which other
programs on the machine disturb least; `ratio` is the median over rounds of a kind's seconds over
those of `dot`. `wide_ratio` repeats this at the shape of the preset `qig-23m`.

    python -m benchmarks.attention_ablation --text FILE --json
"""

import argparse
import json
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from constellation.kernel.network.config import PRESETS, KernelConfig
from constellation.kernel.network.decoder import Decoder

KINDS: dict[str, dict[str, object]] = {
    "dot": {"attention": "dot", "running_coupling": False},
    "fisher_rao": {"attention": "fisher_rao", "running_coupling": False},
    "qfi": {"attention": "qfi", "running_coupling": False},
    "fisher_rao_running": {"attention": "fisher_rao", "running_coupling": True},
    "qfi_running": {"attention": "qfi", "running_coupling": True},
}
BATCH, CONTEXT, EVAL_BATCHES = 12, 64, 20
RATE, RATE_MIN, WARMUP_STEPS = 1e-3, 1e-4, 100
ROUND_STEPS = 10


@dataclass
class Text:
    """Characters as integers, split by position."""

    train: Tensor
    held_out: Tensor
    num_characters: int

    @classmethod
    def read(cls, path: Path) -> "Text":
        text = path.read_text(encoding="utf-8", errors="replace")
        alphabet = {character: index for index, character in enumerate(sorted(set(text)))}
        ids = torch.tensor([alphabet[character] for character in text])
        split = int(0.9 * len(ids))
        return cls(ids[:split], ids[split:], len(alphabet))


@dataclass
class Run:
    """One kind in training."""

    decoder: Decoder
    optimizer: torch.optim.Optimizer
    batches: torch.Generator
    steps_total: int
    step: int = 0
    round_seconds: list[float] = field(default_factory=list)
    wall_seconds: float = 0.0

    @classmethod
    def start(cls, config: KernelConfig, seed: int, steps_total: int) -> "Run":
        decoder = Decoder(config, seed=seed)
        optimizer = torch.optim.AdamW(
            decoder.parameter_groups(weight_decay=0.1), lr=RATE, betas=(0.9, 0.99), fused=True
        )
        return cls(decoder, optimizer, torch.Generator().manual_seed(seed), steps_total)

    def advance(self, text: Text, num_steps: int) -> None:
        started, wall_started = time.process_time(), time.perf_counter()
        for _ in range(num_steps):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.step, self.steps_total)
            inputs, targets = batch(text.train, self.batches)
            train_step(self.decoder, self.optimizer, inputs, targets)
            self.step += 1
        self.round_seconds.append(time.process_time() - started)
        self.wall_seconds += time.perf_counter() - wall_started


def learning_rate(step: int, steps_total: int) -> float:
    if step < WARMUP_STEPS:
        return RATE * (step + 1) / (WARMUP_STEPS + 1)
    progress = (step - WARMUP_STEPS) / max(1, steps_total - WARMUP_STEPS)
    return RATE_MIN + 0.5 * (1 + math.cos(math.pi * progress)) * (RATE - RATE_MIN)


def batch(ids: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    starts = torch.randint(len(ids) - CONTEXT, (BATCH, 1), generator=generator)
    window = ids[starts + torch.arange(CONTEXT + 1)]
    return window[:, :-1], window[:, 1:]


def train_step(
    decoder: Decoder, optimizer: torch.optim.Optimizer, inputs: Tensor, targets: Tensor
) -> None:
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(decoder.loss(inputs, targets))
    torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
    optimizer.step()


@torch.no_grad()
def held_out_losses(decoder: Decoder, text: Text) -> tuple[float, float]:
    """Return nats per character: over 20 random batches, and over all windows in order."""
    generator = torch.Generator().manual_seed(1337)  # the same batches for every kind and seed
    sampled = [float(decoder.loss(*batch(text.held_out, generator))) for _ in range(EVAL_BATCHES)]
    num_windows = (len(text.held_out) - 1) // CONTEXT
    inputs = text.held_out[: num_windows * CONTEXT].view(num_windows, CONTEXT)
    targets = text.held_out[1 : num_windows * CONTEXT + 1].view(num_windows, CONTEXT)
    total = 0.0
    for some, wanted in zip(torch.split(inputs, 256), torch.split(targets, 256), strict=True):
        total += float(decoder.loss(some, wanted)) * len(some)
    return statistics.fmean(sampled), total / num_windows


def train_side_by_side(text: Text, seed: int, steps: int) -> dict[str, Run]:
    base = KernelConfig(
        vocab_size=text.num_characters,
        width=128,
        num_layers=4,
        num_heads=4,
        mlp_width=344,  # as many weights as nanoGPT's 4x MLP
        context=CONTEXT,
    )
    runs = {
        name: Run.start(KernelConfig.from_dict(base.to_dict() | changes), seed, steps)
        for name, changes in KINDS.items()
    }
    calls = [partial(run.advance, text, ROUND_STEPS) for run in runs.values()]
    in_turn(calls, steps // ROUND_STEPS)
    return runs


def in_turn(calls: Sequence[Callable[[], object]], num_rounds: int) -> None:
    """Make every call once per round, each round starting with the next one."""
    for turn in range(num_rounds):
        first = turn % len(calls)
        for call in (*calls[first:], *calls[:first]):
            call()


def paired_ratio(seconds: list[float], dot_seconds: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(seconds, dot_seconds, strict=True))


def wide_ratios(num_rounds: int) -> dict[str, float]:
    """Return training-step time over that of `dot` at the shape of `qig-23m`."""
    generator = torch.Generator().manual_seed(0)
    shape = PRESETS["qig-23m"]
    window = torch.randint(shape.vocab_size, (1, shape.context + 1), generator=generator)
    seconds: dict[str, list[float]] = {name: [] for name in KINDS}

    def timed_step(name: str, changes: dict[str, object]) -> Callable[[], None]:
        decoder = Decoder(replace(shape, **changes))  # type: ignore[arg-type]
        optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-4, fused=True)

        def step() -> None:
            started = time.process_time()
            train_step(decoder, optimizer, window[:, :-1], window[:, 1:])
            seconds[name].append(time.process_time() - started)

        return step

    in_turn([timed_step(name, changes) for name, changes in KINDS.items()], num_rounds + 1)
    warm = {name: values[1:] for name, values in seconds.items()}
    return {
        name: round(paired_ratio(warm[name], warm["dot"]), 4) for name in KINDS if name != "dot"
    }


def summary(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True, help="English text, 1 MB or more")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--wide-rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print only the JSON object")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = measure(options)
    if not options.json:
        show(result)
    print(json.dumps(result))


@dataclass
class Tally:
    """What one kind reached, one entry a seed."""

    loss: list[float] = field(default_factory=list)
    loss_all_windows: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    wall_seconds: list[float] = field(default_factory=list)
    round_seconds: list[float] = field(default_factory=list)
    learned: dict[str, object] = field(default_factory=dict)

    def add(self, run: Run, text: Text) -> None:
        sampled, every = held_out_losses(run.decoder, text)
        self.loss.append(sampled)
        self.loss_all_windows.append(every)
        self.seconds.append(sum(run.round_seconds))
        self.wall_seconds.append(run.wall_seconds)
        self.round_seconds += run.round_seconds
        self.learned = couplings(run.decoder)

    def report(self, dot: "Tally") -> dict[str, object]:
        return {
            "loss": round(statistics.median(self.loss), 4),
            "loss_spread": summary(self.loss),
            "loss_all_windows": summary(self.loss_all_windows),
            "seconds": round(statistics.median(self.seconds), 2),
            "seconds_spread": summary(self.seconds),
            "wall_seconds": summary(self.wall_seconds),
            "ratio": round(paired_ratio(self.round_seconds, dot.round_seconds), 4),
        } | self.learned


def measure(options: argparse.Namespace) -> dict[str, object]:
    text = Text.read(options.text)
    wide = wide_ratios(options.wide_rounds)
    print(f"wide_ratio: {wide}", file=sys.stderr, flush=True)
    tallies = {name: Tally() for name in KINDS}
    rows: dict[str, object] = {}
    for seed in range(options.seeds):
        for name, run in train_side_by_side(text, seed, options.steps).items():
            tallies[name].add(run, text)
        rows = {name: tally.report(tallies["dot"]) for name, tally in tallies.items()}
        print(f"after {seed + 1} seeds: {json.dumps(rows)}", file=sys.stderr, flush=True)
    setting = {
        "seeds": options.seeds,
        "steps": options.steps,
        "threads": options.threads,
        "characters": len(text.train) + len(text.held_out),
        "alphabet": text.num_characters,
        "machine": platform.machine(),
        "torch": torch.__version__,
    }
    return {**rows, "wide_ratio": wide, "setting": setting}


def couplings(decoder: Decoder) -> dict[str, object]:
    """Return the range of the learned couplings of the last seed."""
    if decoder.coupling is None:
        return {}
    kappa = decoder.coupling.log_kappa_NH.detach().exp()
    found: dict[str, object] = {
        "kappa_range": [round(float(kappa.min()), 2), round(float(kappa.max()), 2)]
    }
    if decoder.config.learns_beta:
        found["beta_range"] = extremes(decoder.coupling.beta_NH.detach())
    return found


def extremes(values: Tensor) -> list[float]:
    return [round(float(values.min()), 3), round(float(values.max()), 3)]


def show(result: dict[str, object]) -> None:
    print(f"{'attention':<20} {'loss':>8} {'seconds':>9} {'time ratio':>11}  at qig-23m's shape")
    wide = result["wide_ratio"]
    assert isinstance(wide, dict)
    for name in KINDS:
        row = result[name]
        assert isinstance(row, dict)
        print(
            f"{name:<20} {row['loss']:>8.4f} {row['seconds']:>9.2f} {row['ratio']:>11.3f}"
            f"  {wide.get(name, 1.0):.3f}"
        )


if __name__ == "__main__":
    main()
