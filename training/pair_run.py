"""A run that trains one kernel on pairs: from a recipe with `[pairs]` to a kernel that can join.

    OUT/kernels/NAME/   the kernel, with its symbols
    OUT/text/           the pairs that it learned, as text: where the kernel's domain lies
    OUT/pairs.json      how many held-out prompts are answered exactly

The kernel joins a constellation by `constellation add NAME OUT/kernels/NAME --text OUT/text`.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from constellation.atomic_files import write_whole
from constellation.errors import ArtifactError, ConfigError, TrainingError
from constellation.kernel.files.checkpoint import KERNEL_FILE, save_kernel
from constellation.kernel.files.symbol_kernel import load_symbol_kernel
from constellation.kernel.files.symbol_vocabulary import read_symbols
from constellation.kernel.files.transformers_folder import read_json
from constellation.kernel.network.config import PRESETS
from constellation.wire.run_lock import owned
from training.batches import Pairs
from training.curriculum import Curriculum, Learned, learn
from training.file_errors import typed_writes
from training.job_settings import objective_config, step_config, watch_settings
from training.json_files import write_json
from training.ledger import hash_of
from training.loop.job import Job
from training.pair_files import Pair, encode_pairs, read_pairs, split_pairs
from training.progress.events import OnEvent, ignore
from training.recipe import Recipe
from training.recipe_pairs import PairsSection

REPORT: Final = "pairs.json"
"""In the folder of such a run."""
TEXTS: Final = "text"
"""Folder of its pairs as documents."""
_DOCUMENTS: Final = 64
"""Documents that the pairs are written as, at most."""
_LINES: Final = 64
"""Pairs of a document, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairsResult:
    """A finished run."""

    out: Path
    kernel: str
    report: dict[str, Any]
    """The content of `pairs.json`."""
    seconds: float
    """Of this call."""


def train_pairs(
    recipe: Recipe,
    out: Path,
    on_event: OnEvent = ignore,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> PairsResult:
    """Train the kernel of a recipe that names pairs; a finished one is not trained again.

    The folder `out` is made when missing, and resumed when it holds an unfinished run.
    `should_stop` is asked before each step; yes writes a checkpoint and ends the call.

    Raises:
        CorpusError: The pairs cannot be used.
        ConfigError: The recipe does not say what is needed.
        ArtifactError: The vocabulary is damaged, or the folder cannot be written.
        TrainingError: Training failed or was stopped, or too few answers are exact.
    """
    started_s = time.perf_counter()
    if recipe.pairs is None or recipe.seed_stage is None:
        raise ConfigError(f"recipe {recipe.name} needs [pairs] and [seed_stage] to learn pairs")
    out = out.resolve()
    with typed_writes(out):
        out.mkdir(parents=True, exist_ok=True)
        with owned(out, "a training", TrainingError):
            report = _Run(recipe, recipe.pairs, out).report(on_event, should_stop)
    seconds = time.perf_counter() - started_s
    return PairsResult(out=out, kernel=recipe.name, report=report, seconds=seconds)


class _Run:
    """One run's folder and parts."""

    def __init__(self, recipe: Recipe, section: PairsSection, out: Path) -> None:
        self._recipe, self._section, self._out = recipe, section, out
        self._folder = out / "kernels" / recipe.name
        self._vocabulary = read_symbols(section.vocabulary)
        pairs = read_pairs(section.file)
        split = split_pairs(section.file, pairs, held_out_share=section.held_out_share)
        self._train, self._held_out = split.train, split.held_out
        self._key = hash_of(
            {
                "recipe": recipe.without_keeping().key(),
                "pairs": [[pair.prompt, pair.answer] for pair in pairs],
                "vocabulary": self._vocabulary.sha256(),
            }
        )

    def report(self, on_event: OnEvent, should_stop: Callable[[], bool]) -> dict[str, Any]:
        """Train unless it is finished; return what `pairs.json` holds."""
        if self._is_finished():
            return read_json(self._out / REPORT)
        checkpoints = self._out / "checkpoints" / self._key[:16]
        learned = learn(self._curriculum(), checkpoints, on_event=on_event, should_stop=should_stop)
        if not learned.result.finished:
            raise TrainingError(
                f"training was stopped before {self._recipe.name} had finished; checkpoints are "
                "written, run the same command to go on from them"
            )
        weights_hash = self._save(learned)
        if not self._recipe.checkpoints.keep_finished:
            shutil.rmtree(self._out / "checkpoints", ignore_errors=True)
        return self._write_report(learned, weights_hash)

    def _is_finished(self) -> bool:
        try:
            facts = load_symbol_kernel(self._folder).kernel.facts
        except ArtifactError:  # nothing lies there, or not all of it
            return False
        return facts.get("run_key") == self._key and (self._out / REPORT).is_file()

    def _curriculum(self) -> Curriculum:
        recipe, section = self._recipe, self._section
        assert recipe.seed_stage is not None
        network = replace(
            PRESETS[recipe.kernel.preset],
            **recipe.kernel.changes,
            vocab_size=len(self._vocabulary),
        )
        held_out = self._encoded(self._held_out)
        guards = watch_settings(recipe.guards, gauged=False)["guards"]
        job = Job(
            kernel=recipe.name,
            stage="seed",
            step=step_config(recipe.seed_stage, recipe.optimiser),
            bytes_per_token=_bytes_per_symbol(self._train),
            checkpoint_every=recipe.checkpoints.every_steps,
            dev_windows=recipe.checkpoints.dev_windows,
            objective=objective_config(recipe.objective),
            # A kernel that is rightly sure of its answers has no entropy to watch.
            guards=guards.model_copy(update={"output": False, "phi": False}),
        )
        return Curriculum(
            job=job,
            network=network,
            vocabulary=self._vocabulary,
            train=self._batches(self._encoded(self._train), network.context),
            dev=self._batches(held_out, network.context),
            seed=recipe.seed % 2**32,
            questions=tuple(held_out[: section.questions_max]),
            exact_min=section.exact_min,
        )

    def _encoded(self, pairs: Sequence[Pair]) -> list[tuple[list[int], list[int]]]:
        return encode_pairs(self._section.file, pairs, self._vocabulary)

    def _batches(self, pairs: Sequence[tuple[list[int], list[int]]], context: int) -> Pairs:
        return Pairs.of(
            pairs,
            end_id=self._vocabulary.end_id,
            context=context,
            seed=self._recipe.seed,
            loss_on=self._section.loss,
            learns_end=self._section.learn_end,
        )

    def _save(self, learned: Learned) -> str:
        (self._folder / KERNEL_FILE).unlink(missing_ok=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._vocabulary.save(self._folder)
        facts = {
            "name": self._recipe.name,
            "run_key": self._key,
            "steps": learned.result.steps,
            "best_step": learned.result.best_step,
            "dev_nats_per_token": learned.result.dev_nats,
        }
        weights_hash = save_kernel(
            self._folder, learned.decoder, tokenizer_hash=self._vocabulary.sha256(), facts=facts
        )
        write_texts(self._out / TEXTS, self._train)
        return weights_hash

    def _write_report(self, learned: Learned, weights_hash: str) -> dict[str, Any]:
        exact = learned.exact
        report = {
            "kernel": self._recipe.name,
            "weights_sha256": weights_hash,
            "vocabulary": self._vocabulary.name,
            "num_train": len(self._train),
            "num_held_out": len(self._held_out),
            "num_questions": 0 if exact is None else exact.num_pairs,
            "num_exact": 0 if exact is None else exact.num_exact,
            "steps": learned.result.steps,
            "dev_nats_per_token": learned.result.dev_nats,
        }
        write_json(self._out / REPORT, report)
        return report


def write_texts(folder: Path, pairs: Sequence[Pair]) -> None:
    """Write pairs as documents, a line each; what the folder held before is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    chosen = pairs[: _DOCUMENTS * _LINES]
    size = -(-len(chosen) // _DOCUMENTS)
    for number, at in enumerate(range(0, len(chosen), size)):
        lines = "".join(f"{pair.prompt}{pair.answer}\n" for pair in chosen[at : at + size])
        write_whole(folder / f"{number:04d}.txt", lines.encode())


def _bytes_per_symbol(pairs: Sequence[Pair]) -> float:
    texts = [pair.prompt + pair.answer for pair in pairs]
    return sum(len(text.encode()) for text in texts) / max(1, sum(map(len, texts)))
