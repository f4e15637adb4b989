"""A kernel and data small enough to train in a blink."""

import numpy as np
from pydantic import TypeAdapter

from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.records import TokenArray
from training.batches import Windows
from training.loop.step import StepConfig
from training.loop.train_loop import Job

CONFIG = KernelConfig(vocab_size=64, width=16, num_layers=1, num_heads=2, mlp_width=32, context=16)


def stream(seed: int = 0, num_tokens: int = 2000) -> TokenArray:
    """Return tokens that count up with now and then a jump: easy to learn."""
    random = np.random.default_rng(seed)
    steps = np.where(random.random(num_tokens) < 0.1, random.integers(64, size=num_tokens), 1)
    return (np.cumsum(steps) % 64).astype(np.int32)


def windows(seed: int = 0) -> Windows:
    return Windows.of(stream(), context=CONFIG.context, seed=seed)


def dev_windows() -> Windows:
    return Windows.of(stream(1, 400), context=CONFIG.context, seed=0)


def decoder(seed: int = 0) -> Decoder:
    return Decoder(CONFIG, seed=seed)


def job(*, steps: int = 30, checkpoint_every: int = 7, keep_last: int = 2) -> Job:
    return Job(
        kernel="k",
        stage="branch",
        step=StepConfig(steps=steps, batch_size=4, learning_rate=1e-2, warmup_steps=3),
        bytes_per_token=3.0,
        checkpoint_every=checkpoint_every,
        keep_last=keep_last,
        dev_windows=4,
    )


def changed(config: StepConfig, **changes: object) -> StepConfig:
    return StepConfig.model_validate({**config.model_dump(), **changes})


def through_json(job: Job) -> Job:
    values = TypeAdapter(Job)
    return values.validate_json(values.dump_json(job))
