"""A kernel that has learned to count, text to check it on, and a whole small run."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from constellation.kernel.network.decoder import Decoder
from constellation.records import TokenArray
from tests.training import tiny
from training.batches import Windows
from training.evaluation.held_out_figures import unigram_nats
from training.loop.step import Alone, StepConfig, Stepper
from training.pipeline import train
from training.progress.events import OnEvent
from training.recipe import Recipe
from training.runs.training_plan import TrainingPlan
from training.runs.worker import train_share
from training.validation.held_out_passages import HeldOut

STOCKS = {
    "sea": ("wave", "tide", "salt", "harbour", "anchor", "gull", "keel", "drift", "storm"),
    "bake": ("flour", "yeast", "oven", "crust", "knead", "rise", "butter", "loaf", "salt"),
    "stars": ("orbit", "comet", "lens", "dust", "nebula", "pulsar", "light", "mass", "ring"),
}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


CONFIG = replace(tiny.CONFIG, context=64)
END = 63


def counts(seed: int, num_tokens: int) -> TokenArray:
    """Return tokens that count up below 32, with now and then a jump, and now and then an end."""
    stream_N = tiny.stream(seed, num_tokens) % 32
    stream_N[::97] = END
    return stream_N


def taught(stream_N: TokenArray, *, steps: int) -> Decoder:
    """Return a small kernel trained on a stream."""
    decoder = Decoder(CONFIG, seed=0)
    config = StepConfig(steps=steps, batch_size=8, learning_rate=1e-2, warmup_steps=3, device="cpu")
    stepper = Stepper(decoder, config, Alone())
    windows = Windows.of(stream_N, context=CONFIG.context, seed=0)
    for index in range(steps):
        stepper.step(*windows.batch(index, 8), index, stop=False)
    return decoder.eval()


@pytest.fixture(scope="session")
def counting() -> Decoder:
    """Return a kernel that counts. Do not change it."""
    return taught(counts(0, 4000), steps=200)


@pytest.fixture(scope="session")
def held_out() -> HeldOut:
    return HeldOut(
        passages=tuple(counts(1, 16 * CONFIG.context).reshape(-1, CONFIG.context)),
        num_bytes=np.full(16, 3.0 * CONFIG.context),
        end_id=END,
        unigram_V=unigram_nats(counts(0, 4000), CONFIG.vocab_size),
    )


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished branch-train run of three kernels. Do not change it."""
    folder = tmp_path_factory.mktemp("validated")
    source = random.Random(0)
    for domain, stock in STOCKS.items():
        (folder / "text" / domain).mkdir(parents=True)
        for index in range(40):
            lines = (" ".join(source.choices(stock, k=9)) for _ in range(10))
            (folder / "text" / domain / f"{index}.txt").write_text("\n".join(lines) + "\n")
    recipe = Recipe.model_validate(
        {
            "name": "tiny",
            "corpus": {"paths": [str(folder / "text")]},
            "coordizer": {"vocab_size": 300},
            "kernel": {
                "width": 16,
                "num_layers": 1,
                "num_heads": 2,
                "mlp_width": 32,
                "context": 64,
            },
            "seed_stage": {"steps": 80, "batch_size": 4, "learning_rate": 1e-2},
            "branch_stage": {"steps": 40, "batch_size": 4, "learning_rate": 1e-2},
            "tracking": {"tensorboard": False},
        }
    )
    return train(recipe, folder / "out", trainer=_alone).out


def _alone(plan: TrainingPlan, recipe: Recipe, on_event: OnEvent) -> None:
    assert train_share(TrainingPlan.from_dict(json.loads(json.dumps(plan.to_dict()))), Alone())
