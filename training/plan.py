"""Make the plan that workers follow from a recipe and its token files."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.prepared_corpus import PreparedCorpus, documents_of
from constellation.errors import ConfigError
from constellation.kernel.network.config import PRESETS, KernelConfig
from training.job_settings import (
    fit_basin_head,
    objective_config,
    step_config,
    target_signature,
    watch_settings,
)
from training.ledger import hash_of
from training.loop.job import Job
from training.recipe import KernelSection, Recipe, StageSection
from training.recipe_transfer import DistilSection
from training.runs.training_plan import SEED, TrainingPlan
from training.text_preparation import bytes_per_token
from training.transfer.teachers import folder_state

SEED_SECTIONS: Final = (
    "seed",
    "seed_stage",
    "optimiser",
    "objective",
    "distil",
    "guards",
    "checkpoints",
)
"""Sections of a recipe that decide the seed; branches depend on some more."""


def kernel_config(section: KernelSection, vocab_size: int) -> KernelConfig:
    """Return the preset with the recipe's changes and the coordizer's vocabulary."""
    return replace(PRESETS[section.preset], **section.changes, vocab_size=vocab_size)


def make_plan(
    recipe: Recipe,
    out: Path,
    corpus: PreparedCorpus,
    coordizer: Coordizer,
    tokens_hash: str,
    seed_tokens_hash: str = "",
) -> TrainingPlan:
    """Return the plan of a run.

    Args:
        recipe: What the user asked for.
        out: The run's folder.
        corpus: For the domains and the mean size of a token; in mode synchronized its one domain
            is the kernel.
        coordizer: Whose tokens the kernels speak.
        tokens_hash: Hash over the token files.
        seed_tokens_hash: Hash over those that the seed reads.

    Raises:
        ConfigError: A kernel would have the seed's name.
    """
    if SEED in corpus.domains:
        raise ConfigError(
            f"a kernel would be named {SEED!r}, which is taken; rename the domain's folder, or the "
            "recipe in mode synchronized"
        )
    shape = kernel_config(recipe.kernel, coordizer.vocab_size)
    objective = objective_config(recipe.objective)
    fitted = fit_basin_head(shape, objective, len(coordizer.background_K))
    config = replace(fitted, frozen_input=recipe.embedding is not None).to_dict()
    target = target_signature(recipe.objective, coordizer.hash)
    embedding = None if recipe.embedding is None else recipe.embedding.folder.resolve()
    sources = {
        "config": config,
        "basin_target": None if target is None else target.hash,
        "teacher": None if recipe.distil is None else folder_state(recipe.distil.teacher),
        "embedding": None if embedding is None else folder_state(embedding),
        "torch": torch.__version__,
    }

    def key(*sections: str, tokens: str) -> str:
        decides = recipe.without_keeping().key(*SEED_SECTIONS, *sections)
        return hash_of({"recipe": decides, "tokens": tokens, **sources})

    stage = recipe.seed_stage if recipe.mode == "synchronized" else recipe.branch_stage
    shared = None if recipe.mode == "synchronized" else recipe.seed_stage
    assert stage is not None, "the recipe's validator sees to that"

    def job(name: str, stage: StageSection) -> Job:
        made = _job(recipe, stage, out, corpus, name)
        if target is None:
            return made
        return replace(made, basin_target=tuple(target.basin_K.tolist()))

    return TrainingPlan(
        out=str(out.resolve()),
        key=key("mode", "branch_stage", "adapter", tokens=tokens_hash),
        seed_key=key(tokens=seed_tokens_hash),
        mode=recipe.mode,
        kernels=corpus.domains,
        kernel_config=config,
        tokenizer_hash=coordizer.tokenizer_hash,
        seed=recipe.seed,
        seed_job=None if shared is None else job(SEED, shared),
        branch_jobs=tuple(job(name, stage) for name in corpus.domains),
        adapter=recipe.adapter,
        embedding_folder=None if embedding is None else str(embedding),
        replays=recipe.replay_share > 0,
        threads=recipe.workers.threads,
    )


def _job(recipe: Recipe, stage: StageSection, out: Path, corpus: PreparedCorpus, name: str) -> Job:
    on_all = name == SEED or recipe.mode == "synchronized"
    source = SEED if on_all else name
    num_tokens = len(np.load(out / "tokens" / f"{source}.train.npy", mmap_mode="r"))
    documents = iter(corpus.train) if on_all else documents_of(corpus.train, name)
    return Job(
        kernel=name,
        stage="seed" if on_all else "branch",
        step=step_config(stage, recipe.optimiser),
        bytes_per_token=bytes_per_token(documents, num_tokens),
        checkpoint_every=recipe.checkpoints.every_steps,
        keep_last=recipe.checkpoints.keep_last,
        dev_windows=recipe.checkpoints.dev_windows,
        objective=objective_config(recipe.objective),
        distil=_with_absolute_teacher(recipe.distil),
        coordizer_folder=str((out / "coordizer").resolve()),
        # Only what starts from the seed starts from weights that are a scale for its Phi.
        **watch_settings(recipe.guards, gauged=not on_all and recipe.seed_stage is not None),
    )


def _with_absolute_teacher(section: DistilSection | None) -> DistilSection | None:
    """Return the section with a path that workers find, wherever they run."""
    if section is None:
        return None
    return section.model_copy(update={"teacher": section.teacher.resolve()})
