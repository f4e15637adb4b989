"""Train and score the models of a table: dense, seed, and experts for each way to divide the text.

Shapes: D documents, N tokens of all of them, T tokens of one, M experts.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.claim.material import ALL, HeldOut, Material
from benchmarks.claim.plan import Plan
from benchmarks.claim.score import Documents, score_all
from benchmarks.claim.train import Say, TrainTask, train_all
from constellation.kernel.network.config import KernelConfig
from constellation.records import FloatArray
from training.loop.step import StepConfig

DENSE, SEED = "dense", "seed"

DOMAINS, RANDOM = "domains", "random"
"""Ways to divide the text that the first table needs; others are `shards-N`."""

Divisions = Mapping[str, Material]
"""Name of a way to divide the text -> the material whose "domains" are its groups."""


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """Where the kernels of one seed lie."""

    folder: Path
    number: int
    """Of the seed; also that of weights and data order."""
    divisions: Divisions

    @property
    def dense(self) -> Path:
        """The dense model."""
        return self.folder / DENSE

    @property
    def seed(self) -> Path:
        """What every expert started from."""
        return self.folder / SEED

    def experts(self, division: str) -> list[Path]:
        """Return the experts of a division, in the order of its groups."""
        return [self.folder / division / name for name in self.divisions[division].domains]


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Nats of every document's tokens under the models of one seed."""

    dense: Sequence[FloatArray]
    """For each document, shape (T,)."""
    seed: Sequence[FloatArray]
    """For each document, shape (T,)."""
    experts: Mapping[str, Sequence[FloatArray]]
    """Division -> for each document, shape (M, T)."""


def train_models(
    plan: Plan, material: Material, models: Sequence[Models], pool: ProcessPoolExecutor, say: Say
) -> float:
    """Train dense models and seeds, the long ones first, then all that starts from a seed.

    Returns:
        Processor seconds of all trainings.
    """
    config = plan.shape.config(material.coordizer.vocab_size)
    dense = [
        dense_task(each.dense, material, config, plan.dense_step(), each.number) for each in models
    ]
    seeds = [
        dense_task(each.seed, material, config, plan.seed_step(), each.number) for each in models
    ]
    branches = [
        TrainTask(
            folder=folder,
            start=each.seed,
            config=config,
            step=plan.branch_step(len(source.domains)),
            train=source.stream(folder.name, "train"),
            dev=source.stream(folder.name, "dev"),
            seed=each.number,
        )
        for each in models
        for division, source in each.divisions.items()
        for folder in each.experts(division)
    ]
    return train_all([*dense, *seeds], pool, say) + train_all(branches, pool, say)


def dense_task(
    folder: Path, material: Material, config: KernelConfig, step: StepConfig, number: int
) -> TrainTask:
    """Return the training of a model on all text from random weights."""
    return TrainTask(
        folder=folder,
        start=None,
        config=config,
        step=step,
        train=material.stream(ALL, "train"),
        dev=material.stream(ALL, "dev"),
        seed=number,
    )


def score_models(
    models: Models, documents: Sequence[HeldOut], material: Material, pool: ProcessPoolExecutor
) -> Scores:
    """Return the nats of every token under every model of one seed."""
    written = Documents.write(material.folder, documents, material.coordizer.end_id)
    parts = {name: models.experts(name) for name in models.divisions}
    kernels = [models.dense, models.seed, *(path for paths in parts.values() for path in paths)]
    nats = iter(score_all(kernels, written, pool))
    return Scores(
        dense=written.cut(next(nats)),
        seed=written.cut(next(nats)),
        experts={
            name: written.cut(np.stack([next(nats) for _ in paths]))
            for name, paths in parts.items()
        },
    )
