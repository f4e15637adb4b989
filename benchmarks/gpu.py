"""What do kernels cost on a GPU: stacked, with adapters, by CUDA graphs, and in a served process?

One prepared run of at most seven minutes, without Ray. Parts run in this order while there is time,
and the results are written after each part, so that a run that is cut short leaves what it has:

* `tests`: `pytest -m gpu`, all kinds of network against the CPU; `tests_rc` 0 is good. In this part
  the numbers are float32 without TF32;
* `step`: milliseconds of a step of one kernel at 1, 8, 32 and 64 texts, computed operator by
  operator and replayed from CUDA graphs; low is good. `graphs_ratio_R` is the first over the
  second, high is good (wanted: 3 at one text). `sampled_ms_R` is a replayed step that draws with
  top-p;
* `stack`: 64 and 240 kernels that are stacked, one text each, and one kernel with as many texts:
  `stack_ratio_N` is tokens a second of the first over the second, both replayed, high is good
  (wanted: .9), and `stack_computed_ratio_N` the same without graphs;
* `adapters`: `adapters_ratio_N`, N adapters over the base alone, in the same way (wanted: .9);
* `served`: a process of stacked kernels behind gRPC with answers that join and leave for some
  seconds, a release that is reloaded, and calls that are cancelled: `served_failed` (0 is good),
  `served_tokens_per_s`, `served_grown_bytes` of device memory over the second half (0 is good);
* `memory`: bytes of the stack over its weights, and what a plan says of it.

The weights are bfloat16 on a GPU. `--device cpu --toy` runs all of it in a minute on a CPU, where
graphs are only computed again: the figures mean nothing there.

    python -m benchmarks.gpu --json results.json
"""

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from constellation.kernel.adapters.adapter_stack import AdapterStack
from constellation.kernel.adapters.attach import attach
from constellation.kernel.adapters.lora import LoraConfig
from constellation.kernel.network.config import PRESETS, KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.devices import move
from constellation.kernel.writing.batch import Batch
from constellation.kernel.writing.kernel_stack import KernelStack
from constellation.kernel.writing.recorded_steps import Record, record_cuda, record_nothing
from constellation.kernel.writing.stacked_batch import StackedBatch
from constellation.records import Sampling
from constellation.runtime.capacity import DeviceLoad, plan_device

GREEDY = Sampling(temperature=0, tokens_max=4096)
TESTS = ["-m", "pytest", "-q", "-m", "gpu", "--confcutdir=tests/kernel", "tests/kernel/test_gpu.py"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Sizes of a run."""

    device: torch.device
    config: KernelConfig
    rows: Sequence[int]
    kernels: Sequence[int]
    adapters: Sequence[int]
    warm_steps: int
    steps: int
    rounds: int
    served_s: float
    served_kernels: int

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32 if self.device.type == "cpu" else torch.bfloat16

    @property
    def record(self) -> Record:
        return record_nothing if self.device.type == "cpu" else record_cuda


def plan_of(options: argparse.Namespace) -> Plan:
    device = torch.device("cuda", 0) if options.device == "cuda" else torch.device("cpu")
    config = PRESETS["qig-23m"]
    if options.toy:
        config = replace(
            config, vocab_size=300, width=32, num_layers=2, num_heads=2, mlp_width=48, context=96
        )
        return Plan(
            device=device,
            config=config,
            rows=(1, 4),
            kernels=(4, 8),
            adapters=(4,),
            warm_steps=2,
            steps=8,
            rounds=2,
            served_s=4.0,
            served_kernels=3,
        )
    return Plan(
        device=device,
        config=config,
        rows=(1, 8, 32, 64),
        kernels=(64, 240),
        adapters=(64,),
        warm_steps=8,
        steps=64,
        rounds=3,
        served_s=40.0,
        served_kernels=16,
    )


def kernel(plan: Plan, seed: int) -> Decoder:
    made = Decoder(plan.config, seed=seed).eval()
    couplings = None if made.coupling is None else made.coupling.state_dict()
    move(made, plan.device, plan.dtype)
    if made.coupling is not None and couplings is not None:
        made.coupling.float().load_state_dict(couplings)
    return made


# --- seconds of steps -----------------------------------------------------------------------------


def seconds(plan: Plan, make: Callable[[], Batch], texts: int, sampling: Sampling) -> float:
    """Return seconds of one step in which all texts get their next token, the prompt left out."""
    batch = make()
    chance = random.Random(texts)
    num_kernels = getattr(make, "num_kernels", 1)
    for number in range(texts):
        prompt = [chance.randrange(plan.config.vocab_size) for _ in range(4)]
        batch.add(prompt, replace(sampling, seed=number), kernel=number % num_kernels)
    for _ in range(plan.warm_steps + -(-4 * texts // 128)):
        batch.step()
    wait(plan)
    started = time.perf_counter()
    for _ in range(plan.steps):
        batch.step()
    wait(plan)
    return (time.perf_counter() - started) / plan.steps


def wait(plan: Plan) -> None:
    if plan.device.type == "cuda":
        torch.cuda.synchronize(plan.device)


def compared(
    plan: Plan, sides: dict[str, Callable[[], Batch]], texts: int, sampling: Sampling = GREEDY
) -> dict[str, float]:
    """Return the median milliseconds of a step of every side, measured in turns."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(plan.rounds):
        for name in sorted(sides, reverse=bool(turn % 2)):
            found[name].append(1e3 * seconds(plan, sides[name], texts, sampling))
    return {name: statistics.median(values) for name, values in found.items()}


class Sides:
    """Makes batches of one network, computed or replayed."""

    def __init__(self, plan: Plan, network: Any, texts: int, num_kernels: int | None) -> None:
        self._plan, self._network, self._texts = plan, network, texts
        self.num_kernels = 1 if num_kernels is None else num_kernels
        self._kind = Batch if num_kernels is None else StackedBatch
        self._record: Record | None = None

    def replayed(self) -> "Sides":
        made = Sides(self._plan, self._network, self._texts, self.num_kernels)
        made._kind, made._record = self._kind, self._plan.record
        return made

    def __call__(self) -> Batch:
        return self._kind(self._network, end_id=None, planned_rows=self._texts, record=self._record)


# --- parts ----------------------------------------------------------------------------------------


def step_part(plan: Plan) -> dict[str, object]:
    decoder = kernel(plan, 0)
    found: dict[str, object] = {}
    for rows in plan.rows:
        computed = Sides(plan, decoder, rows, None)
        replayed = computed.replayed()
        times = compared(plan, {"computed": computed, "replayed": replayed}, rows)
        drawn = replace(GREEDY, temperature=0.8, top_p=0.95)
        sampled = compared(plan, {"sampled": replayed}, rows, drawn)
        found |= {
            f"computed_ms_{rows}": round(times["computed"], 4),
            f"replayed_ms_{rows}": round(times["replayed"], 4),
            f"sampled_ms_{rows}": round(sampled["sampled"], 4),
            f"graphs_ratio_{rows}": round(times["computed"] / times["replayed"], 3),
        }
    return found


def against_one(plan: Plan, many: Sides, one: Sides, texts: int, name: str) -> dict[str, object]:
    """Return the tokens a second of many kernels over those of one with as many texts."""
    times = compared(
        plan,
        {"many": many.replayed(), "one": one.replayed(), "many_c": many, "one_c": one},
        texts,
    )
    return {
        f"{name}_ratio_{texts}": round(times["one"] / times["many"], 3),
        f"{name}_computed_ratio_{texts}": round(times["one_c"] / times["many_c"], 3),
        f"{name}_ms_{texts}": {each: round(value, 4) for each, value in times.items()},
    }


def stack_part(plan: Plan) -> dict[str, object]:
    found: dict[str, object] = {}
    single = kernel(plan, 0)
    stack = KernelStack(single, padded=True)
    before = used(plan)
    for num in plan.kernels:
        while len(stack.kernels) < num:
            stack.put(kernel(plan, len(stack.kernels)))
        many = Sides(plan, stack, num, num)
        found |= against_one(plan, many, Sides(plan, single, num, None), num, "stack")
    weights = plan.config.num_parameters() * plan.dtype.itemsize
    found["memory_ratio"] = round((used(plan) - before) / weights / plan.kernels[-1], 3)
    return found


def adapters_part(plan: Plan) -> dict[str, object]:
    found: dict[str, object] = {}
    for num in plan.adapters:
        base = kernel(plan, 0)
        stack = AdapterStack(base)
        for seed in range(num):
            adapted = attach(base, LoraConfig(rank=8), seed=seed)
            generator = torch.Generator().manual_seed(seed)
            state = adapted.state().items()
            adapted.load({n: torch.randn(t.shape, generator=generator) * 0.1 for n, t in state})
            stack.put(adapted.decoder)
        many = Sides(plan, stack, num, num)
        found |= against_one(plan, many, Sides(plan, base, num, None), num, "adapters")
    return found


def memory_part(plan: Plan) -> dict[str, object]:
    config = plan.config
    load = DeviceLoad(
        weights_bytes=config.num_parameters() * plan.dtype.itemsize,
        slots=4,
        context=config.context,
        kv_bytes_per_token=config.kv_bytes_per_token(plan.dtype),
        vocab_size=config.vocab_size,
    )
    memory = 140 * 10**9
    if plan.device.type == "cuda":
        memory = torch.cuda.get_device_properties(plan.device).total_memory
    made = plan_device(load, memory_bytes=memory, num_kernels=plan.kernels[-1])
    found = {"plan_bytes": made.total_bytes, "plan_fitting": made.num_fitting}
    if plan.device.type == "cuda":
        free, total = torch.cuda.mem_get_info(plan.device)
        reserved = torch.cuda.memory_reserved(plan.device)
        found["context_bytes"] = total - free - reserved
    return dict(found)


def served_part(plan: Plan) -> dict[str, object]:
    # Imported here: the other parts need torch only.
    from benchmarks.gpu_served import served

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(
            served(
                Path(folder),
                plan.config,
                device=plan.device,
                dtype=plan.dtype,
                num_kernels=plan.served_kernels,
                seconds=plan.served_s,
            )
        )


def tests_part(plan: Plan, timeout_s: float) -> dict[str, object]:
    started = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, *TESTS],
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        return {"tests_rc": None, "tests_tail": f"no end within {timeout_s:.0f} s"}
    return {
        "tests_rc": done.returncode,
        "tests_s": round(time.perf_counter() - started, 1),
        "tests_tail": done.stdout[-1500:] + done.stderr[-500:],
    }


def used(plan: Plan) -> int:
    return torch.cuda.memory_allocated(plan.device) if plan.device.type == "cuda" else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--toy", action="store_true", help="small sizes, to try the program")
    parser.add_argument("--minutes", type=float, default=7.0, help="no part begins after these")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), help="file of the results")
    parser.add_argument("--parts", nargs="+", default=None, help="only these parts")
    options = parser.parse_args()
    plan = plan_of(options)
    ends_s = time.perf_counter() + 60 * options.minutes
    result: dict[str, object] = {"device": str(plan.device), "toy": options.toy}
    if plan.device.type == "cuda":
        result["gpu"] = torch.cuda.get_device_name(plan.device)
    result["torch"] = torch.__version__
    parts: dict[str, Callable[[], dict[str, object]]] = {
        "tests": lambda: tests_part(plan, min(120.0, ends_s - time.perf_counter())),
        "step": lambda: step_part(plan),
        "stack": lambda: stack_part(plan),
        "adapters": lambda: adapters_part(plan),
        "served": lambda: served_part(plan),
        "memory": lambda: memory_part(plan),
    }
    for name, part in parts.items():
        if options.parts is not None and name not in options.parts:
            continue
        if time.perf_counter() > ends_s:
            result[f"{name}_left_out"] = "no time was left"
            continue
        started = time.perf_counter()
        try:
            found = part()
        except (
            RuntimeError,
            AssertionError,
            ImportError,
        ) as error:  # the other parts are worth having
            found = {f"{name}_error": f"{type(error).__name__}: {error}"[:1000]}
        result |= found | {f"{name}_part_s": round(time.perf_counter() - started, 1)}
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        with suppress(RuntimeError):
            torch.cuda.empty_cache()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
