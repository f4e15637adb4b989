"""How fast does a kernel train, against a plain GPT of the same shape?

Three questions, each against `benchmarks/baselines/plain_gpt.py` with the same batches, precision,
optimiser settings and threads, in turns whose order alternates:

* `tokens_ratio`: tokens per second at the shape of `qig-23m`, ours over plain;
* `nanogpt_loss`, `nanogpt_time_ratio`: nanoGPT's CPU setting (4 layers, 4 heads, width 128, context
  64, batch 12, 2,000 steps, learning rate 1e-3 falling to 1e-4 by a cosine after 100 warm-up steps,
  beta2 0.99, no dropout, float32; 90 % of the text for training, 20 random batches of the rest for
  the loss), nats per character and our time over plain;
* `mfu`, only where torch sees a GPU: model FLOPs of `qig-recursive-100m` in bfloat16 over the
  device's peak.

"Ours" is `training.loop.step.Stepper` with the default attention. Ratios are medians over rounds of
processor seconds, which other programs disturb least; the same of wall seconds stands beside them.

    python -m benchmarks.train_speed --text FILE --json
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.attention_ablation import Text, batch, held_out_losses, in_turn, summary
from benchmarks.baselines.plain_gpt import PlainGPT, PlainStepper
from constellation.kernel.network.config import PRESETS, KernelConfig
from constellation.kernel.network.decoder import Decoder
from training.loop.step import Alone, StepConfig, Stepper, use_bfloat16

Step = Callable[[Tensor, Tensor, int], object]

NANOGPT = StepConfig(
    steps=2000,
    batch_size=12,
    learning_rate=1e-3,
    warmup_steps=100,
    final_share=0.1,
    beta2=0.99,
    precision="float32",
    device="cpu",
)
ROUND_STEPS = 20


@dataclass
class Clock:
    """Processor and wall seconds of the rounds of one side."""

    processor_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)

    def time(self, work: Callable[[], object]) -> None:
        processor, wall = time.process_time(), time.perf_counter()
        work()
        self.processor_s.append(time.process_time() - processor)
        self.wall_s.append(time.perf_counter() - wall)


def ratios(ours: Clock, plain: Clock) -> dict[str, dict[str, float]]:
    """Return our time over plain's, round by round."""
    return {
        "processor": summary(
            [a / b for a, b in zip(ours.processor_s, plain.processor_s, strict=True)]
        ),
        "wall": summary([a / b for a, b in zip(ours.wall_s, plain.wall_s, strict=True)]),
    }


def ours_step(decoder: Decoder, config: StepConfig) -> Step:
    stepper = Stepper(decoder, config, Alone())
    return lambda inputs, targets, index: stepper.step(inputs, targets, index, stop=False)


def plain_step(model: PlainGPT, config: StepConfig) -> Step:
    return PlainStepper(model, config).step


# --- the shape of qig-23m -------------------------------------------------------------------------


def shape_speed(preset: str, batch_size: int, num_rounds: int) -> dict[str, object]:
    """Time single steps of both at a preset's shape."""
    shape = PRESETS[preset]
    config = StepConfig(steps=1000, batch_size=batch_size, learning_rate=1e-4, device="cpu")
    sides = {
        "ours": (ours_step(Decoder(shape, seed=0), config), Clock()),
        "plain": (plain_step(PlainGPT(shape, seed=0), config), Clock()),
    }
    generator = torch.Generator().manual_seed(0)

    def turn(step: Step, clock: Clock) -> Callable[[], None]:
        def take() -> None:
            tokens = torch.randint(
                shape.vocab_size, (batch_size, shape.context + 1), generator=generator
            )
            inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
            clock.time(lambda: step(inputs, targets, len(clock.wall_s)))

        return take

    in_turn([turn(step, clock) for step, clock in sides.values()], num_rounds + 1)
    for _, clock in sides.values():  # the first round warms up
        del clock.processor_s[0], clock.wall_s[0]
    ours, plain = sides["ours"][1], sides["plain"][1]
    tokens = batch_size * shape.context
    speed = {name: [tokens / s for s in clock.processor_s] for name, (_, clock) in sides.items()}
    pairs = list(zip(speed["ours"], speed["plain"], strict=True))
    wall = [b / a for a, b in zip(ours.wall_s, plain.wall_s, strict=True)]
    return {
        "tokens_ratio": round(statistics.median(a / b for a, b in pairs), 4),
        "tokens_ratio_spread": summary([a / b for a, b in pairs]),
        "tokens_ratio_wall": summary(wall),
        "tokens_per_second": {name: summary(values) for name, values in speed.items()},
    }


# --- nanoGPT's setting ----------------------------------------------------------------------------


@dataclass
class Side:
    """One model at nanoGPT's setting."""

    model: Decoder | PlainGPT
    step: Step
    batches: torch.Generator
    clock: Clock = field(default_factory=Clock)
    index: int = 0

    def advance(self, text: Text) -> None:
        self.clock.time(lambda: self._steps(text))

    def _steps(self, text: Text) -> None:
        for _ in range(ROUND_STEPS):
            self.step(*batch(text.train, self.batches), self.index)
            self.index += 1


def nanogpt_shape(num_characters: int) -> KernelConfig:
    return KernelConfig(
        vocab_size=num_characters,
        width=128,
        num_layers=4,
        num_heads=4,
        mlp_width=344,  # as many weights as nanoGPT's 4x MLP
        context=64,
    )


def nanogpt(text: Text, num_seeds: int, num_steps: int) -> dict[str, object]:
    """Train both at nanoGPT's setting, side by side, once per seed."""
    config = NANOGPT.model_copy(update={"steps": num_steps})
    shape = nanogpt_shape(text.num_characters)
    losses: dict[str, list[float]] = {"ours": [], "plain": []}
    clocks: dict[str, Clock] = {"ours": Clock(), "plain": Clock()}
    for seed in range(num_seeds):
        decoder, plain = Decoder(shape, seed=seed), PlainGPT(shape, seed=seed)
        steps = {"ours": ours_step(decoder, config), "plain": plain_step(plain, config)}
        sides = {
            name: Side(model, steps[name], torch.Generator().manual_seed(seed), clocks[name])
            for name, model in (("ours", decoder), ("plain", plain))
        }
        calls = [lambda side=side: side.advance(text) for side in sides.values()]
        in_turn(calls, num_steps // ROUND_STEPS)
        for name, side in sides.items():
            losses[name].append(held_out_losses(side.model, text)[0])
        print(f"seed {seed}: {losses}", file=sys.stderr, flush=True)
    time_ratios = ratios(clocks["ours"], clocks["plain"])
    return {
        "nanogpt_loss": round(statistics.median(losses["ours"]), 4),
        "nanogpt_loss_plain": round(statistics.median(losses["plain"]), 4),
        "nanogpt_loss_spread": {name: summary(values) for name, values in losses.items()},
        "nanogpt_time_ratio": time_ratios["processor"]["median"],
        "nanogpt_time_ratio_spread": time_ratios["processor"],
        "nanogpt_time_ratio_wall": time_ratios["wall"],
        "nanogpt_seconds": {
            name: round(sum(clock.processor_s) / num_seeds, 2) for name, clock in clocks.items()
        },
    }


# --- a GPU ----------------------------------------------------------------------------------------

PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L4": 121e12}
"""Part of a device's name -> its peak in dense bfloat16, FLOP/s, from the vendor's data sheet."""


def synchronised_step(stepper: Stepper, inputs: Tensor, targets: Tensor, index: int) -> None:
    stepper.step(inputs, targets, index, stop=False)
    torch.cuda.synchronize()  # the optimiser's part is still under way when `step` returns


def gpu_utilisation(batch_size: int, num_rounds: int) -> dict[str, object]:
    """Return the share of the device's peak that training steps of `qig-recursive-100m` use.

    Model FLOPs are three times the forward ones at half of the context, which is what a causal
    token sees on average; none when the device's peak is not known here.
    """
    device_name = torch.cuda.get_device_name()
    peaks = [peak for name, peak in PEAK_FLOPS.items() if name in device_name]
    if not peaks:
        return {"mfu": None, "device": device_name}
    shape = PRESETS["qig-recursive-100m"]
    config = StepConfig(
        steps=1000, batch_size=batch_size, learning_rate=1e-4, precision="bfloat16", device="cuda"
    )
    stepper = Stepper(Decoder(shape, seed=0).to("cuda"), config, Alone())
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(shape.vocab_size, (batch_size, shape.context + 1), generator=generator)
    inputs, targets = tokens[:, :-1].to("cuda"), tokens[:, 1:].to("cuda")
    clock = Clock()
    for index in range(num_rounds + 3):
        clock.time(partial(synchronised_step, stepper, inputs, targets, index))
    flops = 3 * shape.flops_per_token(shape.context // 2) * batch_size * shape.context
    shares = [flops / seconds / peaks[0] for seconds in clock.wall_s[3:]]
    return {"mfu": round(statistics.median(shares), 4), "mfu_spread": summary(shares)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True, help="English text, about 1 MB")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2000, help="of nanoGPT's setting")
    parser.add_argument("--preset", default="qig-23m", help="shape of tokens_ratio")
    parser.add_argument("--batch", type=int, default=4, help="sequences a step of tokens_ratio")
    parser.add_argument("--rounds", type=int, default=9, help="timed steps of tokens_ratio")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print only the JSON object")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = measure(options)
    if not options.json:
        for key, value in result.items():
            print(f"{key:<28} {value}")
    print(json.dumps(result))


def measure(options: argparse.Namespace) -> dict[str, object]:
    text = Text.read(options.text)
    result = shape_speed(options.preset, options.batch, options.rounds)
    print(json.dumps(result), file=sys.stderr, flush=True)
    result |= nanogpt(text, options.seeds, options.steps)
    if torch.cuda.is_available():
        result |= gpu_utilisation(options.batch, options.rounds)
    result["setting"] = {
        "preset": options.preset,
        "batch": options.batch,
        "seeds": options.seeds,
        "steps": options.steps,
        "threads": options.threads,
        "bfloat16": use_bfloat16("auto"),
        "text": options.text.name,
        "characters": len(text.train) + len(text.held_out),
        "alphabet": text.num_characters,
        "machine": platform.machine(),
        "torch": torch.__version__,
    }
    return result


if __name__ == "__main__":
    main()
