"""Program of `test_cost.py`: train a shape for real, and print what it took and was said to take.

In a process of its own, because peak memory is the process's.
"""

import json
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from training.batches import Windows
from training.cost import measure_speed, predicted_seconds
from training.loop.job import Job
from training.loop.kernel_progress import peak_memory_bytes
from training.loop.step import StepConfig, use_bfloat16
from training.loop.train_loop import run_job
from training.runs.kernel_memory import training_memory

TOY = KernelConfig(vocab_size=64, width=16, num_layers=1, num_heads=2, mlp_width=16, context=16)
STEPS = 6
ALTERNATIONS = 2
CALIBRATION_FLOPS = 1e10


def job_of(batch_size: int, precision: str, steps: int) -> Job:
    step = StepConfig(
        steps=steps, batch_size=batch_size, learning_rate=1e-3, precision=precision, device="cpu"
    )
    return Job(
        kernel="k",
        stage="branch",
        step=step,
        bytes_per_token=3.0,
        checkpoint_every=STEPS,
        dev_windows=2,
    )


def run(config: KernelConfig, job: Job) -> float:
    """Train, and return the processor seconds."""
    random = np.random.default_rng(0)
    stream_N = random.integers(config.vocab_size, size=40_000).astype(np.int32)
    windows = Windows.of(stream_N, context=config.context, seed=0)
    decoder = Decoder(config, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        started_s = time.process_time()
        run_job(job, decoder, windows, windows, Path(folder))
        return time.process_time() - started_s


def predict(config: KernelConfig, job: Job) -> float:
    """Return the processor seconds foretold by a measurement on half of the batch."""
    speed = measure_speed(
        config,
        batch_size=max(1, job.step.batch_size // 2),
        precision=job.step.precision,
        budget_flops=CALIBRATION_FLOPS,
    )
    return predicted_seconds(job, config, speed)


def main() -> None:
    asked = json.loads(sys.argv[1])
    config = KernelConfig.from_dict(asked["config"])
    batch_size, precision = asked["batch_size"], asked["precision"]
    torch.set_num_threads(1)
    run(TOY, job_of(2, precision, 2))  # loads all that torch loads when it is first used
    process_bytes = peak_memory_bytes()
    job = job_of(batch_size, precision, STEPS)
    seconds = [run(config, job)]
    peak = peak_memory_bytes()
    # In turns, so that what other programs do to the machine meets both.
    predicted = []
    for _ in range(ALTERNATIONS):
        predicted.append(predict(config, job))
        seconds.append(run(config, job))
    took = [(before + after) / 2 for before, after in pairwise(seconds)]
    memory = training_memory(
        config,
        batch_size=batch_size,
        bfloat16=use_bfloat16(precision),
        process_bytes=process_bytes,
    )
    found = {
        "time_ratio": statistics.fmean(p / t for p, t in zip(predicted, took, strict=True)),
        "peak": peak,
        "predicted_peak": memory.peak,
        "process": process_bytes,
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
