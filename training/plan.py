"""From a recipe and its token files to the plan that workers follow."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.prepare import PreparedCorpus
from constellation.errors import ConfigError
from constellation.kernel.config import PRESETS, KernelConfig
from training.branch import SEED, BranchPlan
from training.ledger import hash_of
from training.loop import Job
from training.recipe import KernelSection, Recipe, StageSection
from training.step import StepConfig
from training.text import bytes_per_token


def kernel_config(section: KernelSection, vocab_size: int) -> KernelConfig:
    """Return the preset with the recipe's changes and the coordizer's vocabulary."""
    changes = section.model_dump(exclude={"preset"}, exclude_none=True)
    return replace(PRESETS[section.preset], **changes, vocab_size=vocab_size)


def make_plan(
    recipe: Recipe, out: Path, corpus: PreparedCorpus, coordizer: Coordizer, tokens_hash: str
) -> BranchPlan:
    """Return the plan of a branch-train run.

    Args:
        recipe: What the user asked for.
        out: The run's folder.
        corpus: For the domains and the mean size of a token.
        coordizer: Whose tokens the kernels speak.
        tokens_hash: Hash over the token files.

    Raises:
        ConfigError: A domain has the seed's name.
    """
    if SEED in corpus.domains:
        raise ConfigError(f"a domain is named {SEED!r}, which is taken; rename its folder")
    config = kernel_config(recipe.kernel, coordizer.vocab_size).to_dict()
    key = hash_of(
        {
            "recipe": recipe.key("seed", "seed_stage", "branch_stage", "optimiser", "checkpoints"),
            "config": config,
            "tokens": tokens_hash,
            "torch": torch.__version__,
        }
    )
    return BranchPlan(
        out=str(out.resolve()),
        key=key,
        kernels=corpus.domains,
        kernel_config=config,
        tokenizer_hash=coordizer.tokenizer_hash,
        seed=recipe.seed,
        seed_job=_job(recipe, recipe.seed_stage, out, corpus, SEED),
        branch_jobs=tuple(
            _job(recipe, recipe.branch_stage, out, corpus, name) for name in corpus.domains
        ),
        threads=recipe.workers.threads,
    )


def _job(recipe: Recipe, stage: StageSection, out: Path, corpus: PreparedCorpus, name: str) -> Job:
    num_tokens = len(np.load(out / "tokens" / f"{name}.train.npy", mmap_mode="r"))
    documents = [document for document in corpus.train if name in (SEED, document.domain)]
    return Job(
        kernel=name,
        stage="seed" if name == SEED else "branch",
        step=StepConfig(**stage.model_dump(), **recipe.optimiser.model_dump()),
        bytes_per_token=bytes_per_token(documents, num_tokens),
        checkpoint_every=recipe.checkpoints.every_steps,
        keep_last=recipe.checkpoints.keep_last,
        dev_windows=recipe.checkpoints.dev_windows,
    )
