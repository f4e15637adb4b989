"""What does it cost that every text has an adapter of its own over one base?

N low-rank adapters lie over one base (`constellation.kernel.adapters.adapter_stack`), and N
requests, one for each, are written together. The same requests are written by the base alone, and
by the N adapters stepped one after the other, as processes did before. All start from the same
prompts, mixed in length, and write the same number of tokens greedily; the sides take turns whose
order alternates. Processor seconds count, which other programs disturb least; wall seconds stand
beside.

* `ratio_N`: tokens a second over N adapters, over those on the base alone; 1 would mean that
  adapters cost nothing;
* `over_apart_N`: the same over adapters one after the other, for the N of `--apart`;
* `tokens_equal_N`: the share of texts that are what their adapters write alone, for the same N;
* `memory_ratio`: memory that a process gains per adapter, read from disk, over its file's size.

    python -m benchmarks.many_adapters --json
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks.attention_ablation import in_turn, summary
from benchmarks.many_kernels import (
    Prompts,
    beside,
    memory_bytes,
    one,
    prompts_of,
    shape_of,
    written,
)
from benchmarks.train_speed import Clock
from constellation.kernel.adapters.adapter_file import (
    ADAPTER_FILE,
    load_adapted,
    load_base,
    save_adapter,
)
from constellation.kernel.adapters.adapter_stack import AdapterStack
from constellation.kernel.adapters.attach import Adapted, attach, frozen_view
from constellation.kernel.adapters.lora import LoraConfig
from constellation.kernel.files.checkpoint import load_kernel, save_kernel
from constellation.kernel.network.config import PRESETS
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing.batch import Batch
from constellation.kernel.writing.fast_products import prepare
from constellation.kernel.writing.stacked_batch import StackedBatch
from constellation.records import Sampling

Side = Callable[[], list[list[int]]]


def adapted(base: Decoder, rank: int, seed: int) -> Adapted:
    """Return an adapter that changes what is written."""
    adapter = attach(base, LoraConfig(rank=rank), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    drawn = {n: torch.randn(t.shape, generator=generator) for n, t in adapter.state().items()}
    adapter.load({name: tensor * tensor.shape[-1] ** -0.5 for name, tensor in drawn.items()})
    return adapter


def together(stack: AdapterStack, prompts: Prompts, sampling: Sampling) -> list[list[int]]:
    """Write every prompt by an adapter of its own, all in one batch."""
    batch: Batch = StackedBatch(stack, end_id=None)
    texts = [batch.add(prompt, sampling, kernel=n) for n, prompt in enumerate(prompts)]
    return written([batch], texts)


def compare(options: argparse.Namespace, base: Decoder, num: int) -> dict[str, object]:
    decoders = [adapted(base, options.rank, seed).decoder for seed in range(num)]
    stack = AdapterStack(base, weights=options.weights)
    for decoder in decoders:
        stack.put(decoder)
    plain = prepare(frozen_view(base), options.weights)
    prompts = prompts_of(base.config, num, options.prompt)
    sampling = Sampling(tokens_max=options.tokens, temperature=0)
    sides: dict[str, Side] = {
        "together": lambda: together(stack, prompts, sampling),
        "base": lambda: one(plain, prompts, sampling),
    }
    found: dict[str, object] = {}
    if num in options.apart:
        apart = [prepare(decoder, options.weights) for decoder in decoders]
        sides["apart"] = lambda: beside(apart, prompts, sampling)
        pairs = zip(sides["together"](), sides["apart"](), strict=True)
        found[f"tokens_equal_{num}"] = statistics.fmean(ours == theirs for ours, theirs in pairs)
    clocks = {name: Clock() for name in sides}
    calls = [partial(clocks[name].time, side) for name, side in sides.items()]
    in_turn(calls, options.rounds + 1)
    return found | figures(clocks, num, options.tokens)


def figures(clocks: dict[str, Clock], num: int, num_tokens: int) -> dict[str, object]:
    found: dict[str, object] = {}
    for kind, suffix in (("processor_s", ""), ("wall_s", "_wall")):
        # The first round warms up.
        seconds = {name: getattr(clock, kind)[1:] for name, clock in clocks.items()}
        for key, name in (("ratio", "base"), ("over_apart", "apart")):
            if name in seconds:
                pairs = zip(seconds[name], seconds["together"], strict=True)
                ratios = [theirs / ours for theirs, ours in pairs]
                found[f"{key}_{num}{suffix}"] = round(statistics.median(ratios), 4)
                found[f"{key}_{num}{suffix}_spread"] = summary(ratios)
        found[f"step_ms_{num}{suffix}"] = {
            name: round(1e3 * statistics.median(values) / num_tokens, 3)
            for name, values in seconds.items()
        }
    return found


def memory_ratio(options: argparse.Namespace, base: Decoder) -> dict[str, object]:
    """Measure in a process of its own, which holds nothing else."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_kernel(folder / "base", base, tokenizer_hash="", facts={})
        loaded = load_kernel(folder / "base")
        adapter = adapted(loaded.decoder, options.rank, 0)
        save_adapter(folder / "adapter", adapter, base=loaded, base_folder=folder / "base")
        command = [sys.executable, "-m", "benchmarks.many_adapters"]
        ended = subprocess.run(
            [*command, "--memory-of", name, "--held", str(options.held)],
            check=True,
            capture_output=True,
            encoding="utf-8",
        )
    found: dict[str, object] = json.loads(ended.stdout)
    return found


def measure_memory(folder: Path, many: int) -> dict[str, object]:
    adapter = folder / "adapter"
    file_bytes = (adapter / ADAPTER_FILE).stat().st_size
    base = load_base(adapter, shared=folder / "shared")
    stack = AdapterStack(base.decoder)
    held = {}
    for count in (few := many // 8, many):
        while len(stack.kernels) < count:
            stack.put(load_adapted(adapter, base=base).decoder)
        held[count] = memory_bytes(torch.device("cpu"))
    added = (held[many] - held[few]) / (many - few)
    return {
        "memory_ratio": round(added / file_bytes, 4),
        "adapter_file_mib": round(file_bytes / 2**20, 3),
        "added_mib_per_adapter": round(added / 2**20, 3),
        "process_mib": {count: round(held[count] / 2**20, 1) for count in held},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="qig-23m", choices=sorted(PRESETS))
    parser.add_argument("--layers", type=int, default=None, help="layers; the preset's")
    parser.add_argument("--vocabulary", type=int, default=None, help="tokens; the preset's")
    parser.add_argument("--weights", default="float32", choices=("float32", "bfloat16", "int8"))
    parser.add_argument("--adapters", type=int, nargs="+", default=[16, 64])
    parser.add_argument(
        "--apart", type=int, nargs="*", default=[16], help="also one after the other"
    )
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--held", type=int, default=200, help="adapters whose memory is measured")
    parser.add_argument("--prompt", type=int, default=16, help="tokens of a prompt, on average")
    parser.add_argument("--tokens", type=int, default=32, help="tokens written")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-of", type=Path, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of is not None:
        print(json.dumps(measure_memory(options.memory_of, options.held)))
        return
    base = Decoder(shape_of(options)).eval()
    result: dict[str, object] = {}
    for num in options.adapters:
        result |= compare(options, base, num)
    result |= memory_ratio(options, base)
    result["setting"] = {name: v for name, v in vars(options).items() if name != "memory_of"} | {
        "machine": platform.machine(),
        "torch": torch.__version__,
    }
    if not options.json:
        for key, value in result.items():
            print(f"{key:<36} {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
