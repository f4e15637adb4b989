"""What does it cost that every text has a kernel of its own?

N kernels of one shape lie in a stack (`constellation.kernel.writing.kernel_stack`), and N requests,
one for each, are written together. The same requests are written by one kernel, as a process with
one kernel drives it, and by N kernels that are stepped one after the other in batches of their own.
All start from the same prompts, mixed in length, and write the same number of tokens greedily; the
sides take turns whose order alternates. On a CPU processor seconds count, which other programs
disturb least, and wall seconds stand beside them; on a CUDA device, which is used when there is
one, wall seconds.

* `ratio_N`: tokens a second over N kernels, over those on one kernel; 1 would mean that many
  kernels cost nothing. On a CPU every kernel's weights have to be read for its one text, so the
  ratio says how far from memory the work is;
* `beside_ratio_N`: the same over stepping one after the other, by `functional.linear`: the layouts
  that make single kernels fast would hold all weights twice;
* `tokens_equal_N`: the share of texts that the stack writes as their kernels do alone;
* `memory_ratio`: memory that a process gains per kernel added to its stack, read from disk, over
  the size of the kernel's weights: proportional set size on a CPU, allocated memory on a device.

    python -m benchmarks.many_kernels --json
"""

import argparse
import ctypes
import gc
import json
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.attention_ablation import in_turn, summary
from benchmarks.train_speed import Clock
from constellation.kernel.files.checkpoint import load_kernel, save_kernel
from constellation.kernel.network.config import PRESETS, KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing.batch import Batch, Writing
from constellation.kernel.writing.fast_products import prepare
from constellation.kernel.writing.kernel_stack import KernelStack
from constellation.kernel.writing.stacked_batch import StackedBatch
from constellation.records import Sampling

Prompts = Sequence[Sequence[int]]


def shape_of(options: argparse.Namespace) -> KernelConfig:
    config = PRESETS[options.preset]
    layers = options.layers or config.num_layers
    return replace(config, vocab_size=options.vocabulary or config.vocab_size, num_layers=layers)


def prompts_of(config: KernelConfig, num: int, length: int) -> Prompts:
    """Return prompts of half the length to one and a half of it."""
    rng = random.Random(num)
    lengths = [rng.randint(max(1, length // 2), length * 3 // 2) for _ in range(num)]
    return [[rng.randrange(config.vocab_size) for _ in range(each)] for each in lengths]


# --- the three sides ------------------------------------------------------------------------------


def written(batches: Sequence[Batch], writings: list[Writing]) -> list[list[int]]:
    while any(map(len, batches)):
        for batch in batches:
            batch.step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return [writing.produced for writing in writings]


def stacked(stack: KernelStack, prompts: Prompts, sampling: Sampling) -> list[list[int]]:
    """Write every prompt by a kernel of its own, all together."""
    batch = StackedBatch(stack, end_id=None)
    return written(
        [batch], [batch.add(prompt, sampling, kernel=n) for n, prompt in enumerate(prompts)]
    )


def one(decoder: Decoder, prompts: Prompts, sampling: Sampling) -> list[list[int]]:
    """Write all prompts by the same kernel."""
    batch = Batch(decoder, end_id=None)
    return written([batch], [batch.add(prompt, sampling) for prompt in prompts])


def beside(decoders: Sequence[Decoder], prompts: Prompts, sampling: Sampling) -> list[list[int]]:
    """Write every prompt by a kernel of its own, stepped one after the other."""
    batches = [Batch(decoder, end_id=None) for decoder in decoders]
    pairs = zip(batches, prompts, strict=True)
    return written(batches, [batch.add(prompt, sampling) for batch, prompt in pairs])


# --- measuring ------------------------------------------------------------------------------------


def compare(options: argparse.Namespace, num: int, device: torch.device) -> dict[str, object]:
    config = shape_of(options)
    kernels = [Decoder(config, seed=seed).to(device).eval() for seed in range(num)]
    stack = KernelStack(kernels[0])
    for kernel in kernels:
        stack.put(kernel)
    # Alone they are views of the stack: the numbers are held once, for both sides.
    alone = [stack.alone(number) for number in range(num)]
    single = prepare(kernels[0])
    del kernels
    prompts = prompts_of(config, num, options.prompt)
    sampling = Sampling(tokens_max=options.tokens, temperature=0)
    sides: dict[str, Callable[[], list[list[int]]]] = {
        "many": lambda: stacked(stack, prompts, sampling),
        "one": lambda: one(single, prompts, sampling),
        "beside": lambda: beside(alone, prompts, sampling),
    }
    pairs = zip(sides["many"](), sides["beside"](), strict=True)
    equal = statistics.fmean(ours == theirs for ours, theirs in pairs)
    clocks = {name: Clock() for name in sides}
    in_turn(
        [lambda name=name: clocks[name].time(sides[name]) for name in sides],  # type: ignore[misc]
        options.rounds + 1,
    )
    found = figures(clocks, num, options.tokens, device)
    return found | {f"tokens_equal_{num}": equal}


def figures(
    clocks: dict[str, Clock], num: int, num_tokens: int, device: torch.device
) -> dict[str, object]:
    found: dict[str, object] = {}
    kinds = {"processor_s": "", "wall_s": "_wall"}
    if device.type == "cuda":
        kinds = {"wall_s": ""}
    for kind, suffix in kinds.items():
        # The first round warms up.
        seconds = {name: getattr(clock, kind)[1:] for name, clock in clocks.items()}
        for key, name in (("ratio", "one"), ("beside_ratio", "beside")):
            ratios = [a / b for a, b in zip(seconds[name], seconds["many"], strict=True)]
            found[f"{key}_{num}{suffix}"] = round(statistics.median(ratios), 4)
            found[f"{key}_{num}{suffix}_spread"] = summary(ratios)
        found[f"step_ms_{num}{suffix}"] = {
            name: round(1e3 * statistics.median(values) / num_tokens, 3)
            for name, values in seconds.items()
        }
    return found


def memory_ratio(options: argparse.Namespace) -> dict[str, object]:
    """Measure in a process of its own, which holds nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        save_kernel(folder, Decoder(shape_of(options)), tokenizer_hash="", facts={})
        command = [sys.executable, "-m", "benchmarks.many_kernels", "--memory-of", folder]
        counts = [str(max(1, count // 8)) for count in options.kernels]
        ended = subprocess.run(
            [*command, "--kernels", counts[0], str(options.kernels[-1])],
            check=True,
            capture_output=True,
            encoding="utf-8",
        )
    found: dict[str, object] = json.loads(ended.stdout)
    return found


def measure_memory(folder: Path, few: int, many: int, device: torch.device) -> dict[str, object]:
    weights_bytes = sum(
        tensor.numel() * tensor.element_size()
        for tensor in load_kernel(folder).decoder.state_dict().values()
    )
    stack = KernelStack(load_kernel(folder).decoder.to(device))
    held = {}
    for count in (few, many):
        while len(stack.kernels) < count:
            stack.put(load_kernel(folder).decoder.to(device))
        held[count] = memory_bytes(device)
    added = (held[many] - held[few]) / (many - few)
    return {
        "memory_ratio": round(added / weights_bytes, 4),
        "weights_mib": round(weights_bytes / 2**20, 3),
        "added_mib_per_kernel": round(added / 2**20, 3),
    }


def memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.memory_allocated()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    (kib,) = re.findall(
        r"^Pss: +(\d+) kB", Path("/proc/self/smaps_rollup").read_text(encoding="utf-8"), re.M
    )
    return int(kib) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="spark", choices=sorted(PRESETS))
    parser.add_argument("--layers", type=int, default=None, help="layers; the preset's")
    parser.add_argument("--vocabulary", type=int, default=None, help="tokens; the preset's")
    parser.add_argument("--kernels", type=int, nargs="+", default=[64, 240])
    parser.add_argument("--prompt", type=int, default=16, help="tokens of a prompt, on average")
    parser.add_argument("--tokens", type=int, default=32, help="tokens written")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-of", type=Path, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if options.memory_of is not None:
        print(json.dumps(measure_memory(options.memory_of, *options.kernels, device)))
        return
    result: dict[str, object] = {}
    for num in options.kernels:
        result |= compare(options, num, device)
    result |= memory_ratio(options)
    result["setting"] = {name: v for name, v in vars(options).items() if name != "memory_of"} | {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine(),
        "torch": torch.__version__,
    }
    if not options.json:
        for key, value in result.items():
            print(f"{key:<36} {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
