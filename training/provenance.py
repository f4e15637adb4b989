"""Write `run.json`: recipe, versions and data hashes by which a run can be repeated."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from constellation.curricula.prepare import PreparedCorpus
from training.json_files import write_json
from training.recipe import Recipe
from training.runs.training_plan import TrainingPlan

RUN_FILE: Final = "run.json"

PACKAGES: Final = (
    "constellation-runtime",
    "numpy",
    "ray",
    "safetensors",
    "tokenizers",
    "torch",
)
"""Installed packages whose versions may change a run's result."""


def write_provenance(
    folder: Path,
    recipe: Recipe,
    plan: TrainingPlan,
    corpus: PreparedCorpus,
    *,
    coordizer_hash: str,
    tokens_hash: str,
) -> None:
    """Write `run.json` into the run's folder: recipe, seeds, versions, hashes of the data."""
    write_json(
        folder / RUN_FILE,
        {
            "recipe": recipe.model_dump(mode="json"),
            "mode": plan.mode,
            "run_key": plan.key,
            "seeds": {
                "recipe": recipe.seed,
                "weights": {
                    name: plan.initial_seed(name)
                    for name in plan.names
                    if plan.seed_job is None or name not in plan.kernels
                },
            },
            "versions": {"python": platform.python_version(), **_versions()},
            "data": {
                "manifest": dict(corpus.manifest),
                "coordizer_sha256": coordizer_hash,
                "tokens_sha256": tokens_hash,
            },
            "machine": {
                "system": sys.platform,
                "processor": platform.machine(),
                "num_cpus": os.cpu_count(),
            },
        },
    )


def _versions() -> dict[str, str | None]:
    return {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
