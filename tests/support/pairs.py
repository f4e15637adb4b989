"""A toy task: turn three symbols around. Its recipe learns it exactly in seconds."""

import json
import random
from pathlib import Path

from tests.support.symbols import SYMBOLS
from training.recipe import Recipe

LENGTH = 3
LETTERS = SYMBOLS.characters.replace("\n", "").replace(">", "")


def question(word: str) -> str:
    return f"{word}>"


def write_task(folder: Path, *, num_words: int = 4000, seed: int = 0) -> Path:
    """Write `pairs.jsonl` and `symbols.json`; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    source = random.Random(seed)
    words = sorted({"".join(source.choices(LETTERS, k=LENGTH)) for _ in range(num_words)})
    source.shuffle(words)
    lines = (json.dumps({"prompt": question(word), "answer": word[::-1]}) for word in words)
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    SYMBOLS.save(folder)
    return folder


def task_recipe(folder: Path, *, steps: int = 300, **changes: object) -> Recipe:
    values = {
        "name": "mirror",
        "mode": "synchronized",
        "pairs": {
            "file": folder / "pairs.jsonl",
            "vocabulary": folder / "symbols.json",
            "exact_min": 1.0,
        },
        "kernel": {
            "preset": "spark",
            "context": 64,
            "width": 64,
            "num_layers": 2,
            "num_heads": 4,
            "mlp_width": 128,
            "attention": "dot",
        },
        "optimiser": {"kind": "muon", "device": "cpu", "precision": "float32"},
        "seed_stage": {
            "steps": steps,
            "batch_size": 64,
            "learning_rate": 1e-2,
            "warmup_steps": 20,
            "final_share": 0.05,
        },
        "checkpoints": {"every_steps": 100},
    }
    return Recipe.model_validate({**values, **changes})
