"""Texts that come, pause, are removed and end in a batch, in an order drawn at random."""

import random

from constellation.kernel.writing.batch import Batch
from constellation.records import Sampling


def stories(batch: Batch, *, seed: int, num_kernels: int = 1) -> list[list[int]]:
    """Return what the texts write, by kernels drawn at random."""
    chance = random.Random(seed)
    written, present = [], []
    for number in range(30):
        if number < 18 and len(present) < 6 and chance.random() < 0.5:
            prompt = [chance.randrange(61) for _ in range(chance.randint(1, 14))]
            sampling = Sampling(temperature=chance.choice([0.0, 1.0]), seed=number, tokens_max=9)
            kernel = chance.randrange(num_kernels)
            present.append(batch.add(prompt, sampling, kernel=kernel))
            written.append(present[-1])
        if present and chance.random() < 0.1:
            batch.remove(present.pop(chance.randrange(len(present))))
        batch.step([text for text in present if chance.random() < 0.8])
        present = [text for text in present if text.finish_reason is None]
    return [text.produced for text in written]
