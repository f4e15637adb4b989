"""Which rule moves a kernel's parameters best, at equal steps?

Trains the same small byte-level kernel with every rule of the recipes' `[optimiser] kind`. A rule's
learning rate is chosen on held-out text (dev) over a grid by a seed of its own; where the best rate
lies at the edge of the grid, the grid grows that way. Then each rule trains with fresh seeds, and
its loss is read once on other held-out text (test). Rules share initial weights and batches of a
seed.

`loss` is nats per byte on test, `seconds_per_step` processor seconds (median over runs, which other
programs on the machine disturb least). `minus_adamw` is the difference of the losses of equal
seeds. Values are medians with the lowest and the highest seed: three seeds give no more.

    python -m benchmarks.optimizers --json
"""

import argparse
import json
import math
import platform
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from constellation.curricula.starter import starter_corpus
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.records import TokenArray
from training.batches import Windows
from training.loop.step import Alone, StepConfig, Stepper
from training.loop.train_loop import held_out_nats

GRIDS = {
    "adamw": (1e-3, 3e-3, 1e-2),
    "muon": (1e-3, 3e-3, 1e-2),
    "diagonal_fisher": (1e-4, 3e-4, 1e-3),
}
"""Rule -> learning rates tried, a factor of about 3 apart, rising."""

GROW_MAX = 3
"""Rates that a grid may grow by."""

TUNING_SEED = 1000
"""Weights and batches of the runs that choose rates; no reported run has it."""


@dataclass(frozen=True)
class Text:
    """Bytes as tokens, split by position."""

    train: TokenArray
    dev: TokenArray
    test: TokenArray

    @classmethod
    def of(cls, content: bytes) -> "Text":
        tokens = np.frombuffer(content, dtype=np.uint8).astype(np.int32)
        first, second = int(0.8 * len(tokens)), int(0.9 * len(tokens))
        return cls(tokens[:first], tokens[first:second], tokens[second:])


@dataclass(frozen=True)
class Run:
    """What one training came to."""

    dev_nats: float
    test_nats: float
    seconds_per_step: float


def read_text(path: Path | None) -> bytes:
    """Return the file's bytes, or the starter corpus with its documents dealt out evenly."""
    if path is not None:
        return path.read_bytes()
    documents = starter_corpus().documents
    order = np.random.default_rng(0).permutation(len(documents))
    return "\n".join(documents[index].text for index in order).encode()


def shape(options: argparse.Namespace) -> KernelConfig:
    return KernelConfig(
        vocab_size=256,
        width=options.width,
        num_layers=options.layers,
        num_heads=2,
        mlp_width=2 * options.width,
        context=options.context,
    )


def train(options: argparse.Namespace, text: Text, kind: str, rate: float, seed: int) -> Run:
    """Train once; a run that leaves the numbers has an infinite loss."""
    config = StepConfig(
        steps=options.steps,
        batch_size=options.batch,
        learning_rate=rate,
        warmup_steps=max(1, options.steps // 20),
        precision="float32",
        device="cpu",
        kind=kind,  # type: ignore[arg-type]
    )
    decoder = Decoder(shape(options), seed=seed)
    stepper = Stepper(decoder, config, Alone())
    windows = Windows.of(text.train, context=options.context, seed=seed)
    seconds = []
    for index in range(config.steps):
        batch = windows.batch(index, config.batch_size)
        started_s = time.process_time()
        result = stepper.step(*batch, index, stop=False)
        seconds.append(time.process_time() - started_s)
        if not result.taken:
            return Run(math.inf, math.inf, statistics.median(seconds))
    dev, test = (
        held_out_nats(decoder, Windows.of(part, context=options.context, seed=0), 200, config)
        for part in (text.dev, text.test)
    )
    return Run(dev, test, statistics.median(seconds))


def tune(options: argparse.Namespace, text: Text, kind: str) -> tuple[float, dict[str, float]]:
    """Return the best rate on dev, and the loss of every rate that was tried."""
    tried: dict[float, float] = {}
    waiting = list(GRIDS[kind])
    while waiting:
        for rate in waiting:
            tried[rate] = train(options, text, kind, rate, TUNING_SEED).dev_nats
            print(f"{kind} rate {rate:g}: dev {tried[rate]:.4f}", file=sys.stderr, flush=True)
        best, rates = min(tried, key=lambda rate: tried[rate]), sorted(tried)
        may_grow = len(tried) < len(GRIDS[kind]) + GROW_MAX
        edges = {rates[0]: best / math.sqrt(10), rates[-1]: best * math.sqrt(10)}
        waiting = [edges[best]] if best in edges and may_grow else []
    return best, {f"{rate:.3g}": round(tried[rate], 4) for rate in sorted(tried)}


def summary(values: list[float]) -> dict[str, float]:
    return {
        "value": round(statistics.median(values), 5),
        "low": round(min(values), 5),
        "high": round(max(values), 5),
    }


def measure(options: argparse.Namespace) -> dict[str, object]:
    text = Text.of(read_text(options.text))
    rates: dict[str, float] = {}
    tried: dict[str, dict[str, float]] = {}
    for kind in GRIDS:
        rates[kind], tried[kind] = tune(options, text, kind)
    runs = {
        kind: [train(options, text, kind, rates[kind], seed) for seed in range(options.seeds)]
        for kind in GRIDS
    }
    base = runs["adamw"]
    rows = {
        kind: {
            "learning_rate": float(f"{rates[kind]:.3g}"),
            "dev_by_rate": tried[kind],
            "loss": summary([run.test_nats for run in mine]),
            "minus_adamw": summary(
                [run.test_nats - other.test_nats for run, other in zip(mine, base, strict=True)]
            ),
            "seconds_per_step": summary([run.seconds_per_step for run in mine]),
        }
        for kind, mine in runs.items()
    }
    setting = {name: value for name, value in vars(options).items() if name not in ("json", "text")}
    size = {"parameters": shape(options).num_parameters(), "train_bytes": len(text.train)}
    machine = {"machine": platform.machine(), "torch": torch.__version__}
    return {**rows, "setting": {**setting, **size, **machine}}


def show(result: dict[str, object]) -> None:
    print(f"{'rule':<17} {'rate':>8} {'loss (nats per byte)':>26} {'ms per step':>12}")
    for kind in GRIDS:
        row = result[kind]
        assert isinstance(row, dict)
        loss, seconds = row["loss"], row["seconds_per_step"]
        spread = f"{loss['value']:.4f} ({loss['low']:.4f} to {loss['high']:.4f})"
        print(f"{kind:<17} {row['learning_rate']:>8g} {spread:>26} {1e3 * seconds['value']:>12.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, help="any text; left out: the starter corpus")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print only the JSON object")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = measure(options)
    if not options.json:
        show(result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
