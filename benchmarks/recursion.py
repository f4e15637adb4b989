"""Does passing a layer several times with the same weights pay, and what does it cost?

Trains small byte-level kernels on the same batches of a seed, side by side:

* `plain`: the shape without recursion; `recursive` has its parameters, and one gate per recurrent
  layer more;
* `recursive`: the layers of `--recurrent` make `--loops` passes each;
* `adaptive`: the same, but from 3 passes on a byte stops when a pass moves its next-byte
  distribution by less than `--threshold` radians; its `depth` is measured on held-out text;
* `deeper`: plain, with as many layers as `recursive` has passes; `wider`: plain, with the MLP as
  wide as makes the FLOPs of a step those of `recursive`.

`bits_per_byte` is on windows of held-out text. A comparison is the mean over seeds of the paired
difference with Student's 95 % interval, below 0 where the first is better; `conclusion` says
whether 0 is inside. `step_ms` are processor milliseconds of a training step, which other programs
disturb least, and `step_ratio` the median over rounds of a kernel's time over that of `plain`.

    python -m benchmarks.recursion --text FILE --json
"""

import argparse
import json
import math
import platform
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from scipy import stats
from torch import Tensor

from benchmarks.attention_ablation import (
    RATE,
    RATE_MIN,
    in_turn,
    paired_ratio,
    summary,
    train_step,
)
from constellation.curricula.starter import starter_corpus
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.recursion import Depths

BATCH, CONTEXT, HELD_OUT_WINDOWS = 12, 64, 768
ROUND_STEPS = 10
COMPARISONS = {
    "equal_parameters": ("recursive", "plain"),
    "equal_flops_deeper": ("recursive", "deeper"),
    "equal_flops_wider": ("recursive", "wider"),
    "adaptive_depth": ("adaptive", "recursive"),
}
SHAPE = KernelConfig(
    vocab_size=256, width=128, num_layers=4, num_heads=4, mlp_width=344, context=CONTEXT
)


@dataclass
class Text:
    """Bytes as integers; the windows held out are spread evenly over the text."""

    train: Tensor
    held_out_WT: Tensor

    @classmethod
    def read(cls, path: Path | None) -> "Text":
        content = starter_text() if path is None else path.read_bytes()
        every = CONTEXT + 1
        num_windows = len(content) // every
        windows_WT = torch.frombuffer(bytearray(content), dtype=torch.uint8).long()
        windows_WT = windows_WT[: num_windows * every].view(num_windows, every)
        # Every tenth window, in blocks of ten, so that what is held out has unseen surroundings.
        is_held_out_W = (torch.arange(num_windows) // 10) % 10 == 9
        held_out_WT = windows_WT[is_held_out_W]
        chosen = torch.linspace(0, len(held_out_WT) - 1, HELD_OUT_WINDOWS).long()
        return cls(windows_WT[~is_held_out_W].flatten(), held_out_WT[chosen.unique()])


def starter_text() -> bytes:
    """Return the starter corpus, its documents in one fixed random order."""
    texts = [document.text for document in starter_corpus().documents]
    random.Random(0).shuffle(texts)
    return "\n".join(texts).encode()


def kernels(options: argparse.Namespace) -> dict[str, KernelConfig]:
    recursive = replace(
        SHAPE, recurrent_layers=tuple(options.recurrent), loops_min=3, loops_max=options.loops
    )
    return {
        "plain": SHAPE,
        "recursive": recursive,
        "adaptive": replace(recursive, depth_threshold=options.threshold),
        "deeper": replace(SHAPE, num_layers=recursive.num_passes()),
        "wider": replace(SHAPE, mlp_width=widened(recursive)),
    }


def widened(recursive: KernelConfig) -> int:
    """Return the MLP width at which the plain shape has the FLOPs of `recursive`."""
    missing = flops(recursive) - flops(SHAPE)
    per_channel = flops(replace(SHAPE, mlp_width=SHAPE.mlp_width + 1)) - flops(SHAPE)
    return SHAPE.mlp_width + round(missing / per_channel)


def flops(config: KernelConfig, depth: float | None = None) -> float:
    """Return the FLOPs of a token that sees half the context; between whole depths, in between."""
    if depth is None:
        return float(config.flops_per_token(CONTEXT // 2))
    low, high = math.floor(depth), math.ceil(depth)
    at_low, at_high = (config.flops_per_token(CONTEXT // 2, loops=loops) for loops in (low, high))
    return at_low + (depth - low) * (at_high - at_low)


@dataclass
class Run:
    """One kernel in training."""

    decoder: Decoder
    optimizer: torch.optim.Optimizer
    batches: torch.Generator
    steps_total: int
    step: int = 0
    round_seconds: list[float] = field(default_factory=list)

    @classmethod
    def start(cls, config: KernelConfig, seed: int, steps_total: int) -> "Run":
        decoder = Decoder(config, seed=seed)
        optimizer = torch.optim.AdamW(
            decoder.parameter_groups(weight_decay=0.1), lr=RATE, betas=(0.9, 0.99), fused=True
        )
        return cls(decoder, optimizer, torch.Generator().manual_seed(seed), steps_total)

    def advance(self, text: Text) -> None:
        started = time.process_time()
        for _ in range(ROUND_STEPS):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.step, self.steps_total)
            starts = torch.randint(len(text.train) - CONTEXT, (BATCH, 1), generator=self.batches)
            window = text.train[starts + torch.arange(CONTEXT + 1)]
            train_step(self.decoder, self.optimizer, window[:, :-1], window[:, 1:])
            self.step += 1
        self.round_seconds.append(time.process_time() - started)


def learning_rate(step: int, steps_total: int) -> float:
    """Return the rate: a twentieth of the steps warms up, the rest falls by a cosine."""
    warmup = max(1, steps_total // 20)
    if step < warmup:
        return RATE * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, steps_total - warmup)
    return RATE_MIN + 0.5 * (1 + math.cos(math.pi * progress)) * (RATE - RATE_MIN)


@torch.no_grad()
def held_out(decoder: Decoder, text: Text) -> tuple[float, float | None]:
    """Return bits per byte and mean depth on the held-out windows."""
    depths, total = Depths(), 0.0
    for some_WT in torch.split(text.held_out_WT, 64):
        total += float(decoder.loss(some_WT[:, :-1], some_WT[:, 1:], depths=depths)) * len(some_WT)
    return total / len(text.held_out_WT) / math.log(2), depths.mean


@dataclass
class Tally:
    """What one kernel reached, one entry a seed."""

    config: KernelConfig
    bits_per_byte: list[float] = field(default_factory=list)
    depth: list[float] = field(default_factory=list)
    round_seconds: list[float] = field(default_factory=list)

    def add(self, run: Run, text: Text) -> None:
        bits, depth = held_out(run.decoder, text)
        self.bits_per_byte.append(bits)
        self.round_seconds += run.round_seconds
        if depth is not None:
            self.depth.append(depth)

    def report(self, plain: "Tally") -> dict[str, object]:
        depth = statistics.median(self.depth) if self.depth else None
        return {
            "bits_per_byte": summary(self.bits_per_byte),
            "parameters": self.config.num_parameters(),
            "flops_per_token": round(flops(self.config, depth)),
            "depth": None if depth is None else round(depth, 3),
            "step_ms": round(1000 * statistics.median(self.round_seconds) / ROUND_STEPS, 2),
            "step_ratio": round(paired_ratio(self.round_seconds, plain.round_seconds), 3),
        }


def compare(first: Sequence[float], second: Sequence[float]) -> dict[str, object]:
    """Return the mean of paired differences with Student's 95 % interval."""
    differences = [a - b for a, b in zip(first, second, strict=True)]
    value, low, high = statistics.fmean(differences), -math.inf, math.inf
    if len(differences) > 1:
        error = statistics.stdev(differences) / math.sqrt(len(differences))
        reach = float(stats.t.ppf(0.975, len(differences) - 1)) * error
        low, high = value - reach, value + reach
    conclusion = "null: 0 is inside the interval"
    if not low <= 0 <= high:
        conclusion = "the first is better" if high < 0 else "the first is worse"
    return {
        "value": round(value, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "seeds": len(differences),
        "conclusion": conclusion,
    }


def measure(options: argparse.Namespace) -> dict[str, object]:
    text = Text.read(options.text)
    tallies = {name: Tally(config) for name, config in kernels(options).items()}
    for seed in range(options.seeds):
        runs = {
            name: Run.start(tally.config, seed, options.steps) for name, tally in tallies.items()
        }
        in_turn([partial(run.advance, text) for run in runs.values()], options.rounds)
        for name, run in runs.items():
            tallies[name].add(run, text)
        print(
            f"seed {seed}: { ({n: round(t.bits_per_byte[-1], 4) for n, t in tallies.items()}) }",
            file=sys.stderr,
            flush=True,
        )
    comparisons = {
        name: {"of": f"{first} - {second}"}
        | compare(tallies[first].bits_per_byte, tallies[second].bits_per_byte)
        for name, (first, second) in COMPARISONS.items()
    }
    setting = {
        "text": "starter corpus" if options.text is None else options.text.name,
        "train_bytes": len(text.train),
        "held_out_bytes": text.held_out_WT[:, 1:].numel(),
        "steps": options.steps,
        "recurrent": options.recurrent,
        "loops": options.loops,
        "threshold": options.threshold,
        "threads": options.threads,
        "machine": platform.machine(),
        "torch": torch.__version__,
    }
    rows = {name: tally.report(tallies["plain"]) for name, tally in tallies.items()}
    return {"kernels": rows, "comparisons": comparisons, "setting": setting}


def show(result: dict[str, object]) -> None:
    kernels_, comparisons = result["kernels"], result["comparisons"]
    assert isinstance(kernels_, dict)
    assert isinstance(comparisons, dict)
    print(
        f"{'kernel':<12}{'bits/byte':>10}{'parameters':>12}{'MFLOP/token':>13}{'depth':>7}{'time':>7}"
    )
    for name, row in kernels_.items():
        depth = "-" if row["depth"] is None else f"{row['depth']:.2f}"
        print(
            f"{name:<12}{row['bits_per_byte']['median']:>10.4f}{row['parameters']:>12,}"
            f"{row['flops_per_token'] / 1e6:>13.2f}{depth:>7}{row['step_ratio']:>7.2f}"
        )
    for name, row in comparisons.items():
        interval = f"[{row['low']:+.4f}, {row['high']:+.4f}]"
        print(f"{name}: {row['of']} = {row['value']:+.4f} {interval}, {row['conclusion']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, help="left out: the starter corpus")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=800, help="a multiple of 10")
    parser.add_argument("--loops", type=int, default=4)
    parser.add_argument("--recurrent", type=int, nargs="+", default=[SHAPE.num_layers - 1])
    parser.add_argument("--threshold", type=float, default=0.1, help="radians")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print only the JSON object")
    options = parser.parse_args()
    options.rounds = max(1, options.steps // ROUND_STEPS)
    options.steps = options.rounds * ROUND_STEPS
    torch.set_num_threads(options.threads)
    result = measure(options)
    if not options.json:
        show(result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
