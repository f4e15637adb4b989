"""A real run that takes a second: two domains, kernels of a few thousand numbers, no Ray."""

import random
from pathlib import Path

from training.loop.step import Alone
from training.pipeline import train
from training.progress.events import OnEvent
from training.recipe import Recipe
from training.runs.training_plan import TrainingPlan
from training.runs.worker import train_share

STOCKS = {
    "sea": ("wave", "tide", "salt", "harbour", "anchor", "gull", "keel", "drift"),
    "bake": ("flour", "yeast", "oven", "crust", "knead", "rise", "butter", "loaf"),
}


def finished_run(folder: Path) -> Path:
    """Train in `folder` and return the run's folder."""
    text = folder / "text"
    source = random.Random(0)
    for domain, stock in STOCKS.items():
        (text / domain).mkdir(parents=True)
        for number in range(20):
            lines = (" ".join(source.choices(stock, k=9)) for _ in range(12))
            (text / domain / f"{number}.txt").write_text("\n".join(lines) + "\n")
    stage = {"batch_size": 4, "learning_rate": 1e-2, "warmup_steps": 2}
    recipe = Recipe.model_validate(
        {
            "name": "tiny",
            "corpus": {"paths": [str(text)], "test_share": 0.3},
            "coordizer": {"vocab_size": 300},
            "kernel": {
                "width": 16,
                "num_layers": 1,
                "num_heads": 2,
                "mlp_width": 32,
                "context": 96,
            },
            "seed_stage": {"steps": 24, **stage},
            "branch_stage": {"steps": 16, **stage},
            "checkpoints": {"every_steps": 8},
        }
    )
    train(recipe, folder / "out", trainer=_alone)
    return folder / "out"


def _alone(plan: TrainingPlan, recipe: Recipe, on_event: OnEvent) -> None:
    assert train_share(plan, Alone(), on_progress=on_event)
