"""The whole way: corpus, coordizer, kernels, routing table, held-out report.

Every part that is finished and whose inputs and files have not changed is skipped, so a run
that was stopped goes on, and a finished one only reads. Ray must have been started by the caller
(`cluster/bootstrap.py`); it is used by the training part alone.
"""

import json
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.prepare import PreparedCorpus
from constellation.curricula.store import load_prepared
from constellation.errors import TrainingError
from constellation.kernel.checkpoint import load_kernel
from constellation.kernel.decoder import Decoder
from constellation.kernel.opening import open_kernel
from constellation.routing.policy import RoutingPolicy
from constellation.wire.table_file import SITE_FILE, load_table, save_table
from constellation.wire.texts_file import save_texts
from training.evaluation.collective import collective_report
from training.evaluation.collective_scores import score_collective
from training.evaluation.cross_domain import score_across
from training.evaluation.evaluate import score_documents, summarise, unigram_nats
from training.evaluation.observe import Observed, observe
from training.ledger import Ledger
from training.loop.checkpoints import write_json
from training.loop.step import use_bfloat16
from training.plan import make_plan
from training.progress.events import Event, OnEvent, ignore
from training.progress.run_log import RunLog
from training.provenance import write_provenance
from training.recipe import Recipe
from training.runs.branch import is_finished
from training.runs.budget import Budget
from training.runs.budget_keeper import BudgetKeeper
from training.runs.training_plan import SEED, TrainingPlan
from training.table import fit_table
from training.text import (
    as_one_domain,
    corpus_inputs,
    make_coordizer,
    make_corpus,
    make_tokens,
)
from training.trackers.opening import open_trackers

Trainer = Callable[[TrainingPlan, Recipe, OnEvent], None]
"""Trains all that a plan names; when the plan's stop file appears it may return before the end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingResult:
    """A finished run."""

    out: Path
    """Holds `coordizer/`, `kernels/NAME/`, `seed/`, `table.msgpack` and `report.json`."""
    kernels: tuple[str, ...]
    """Names of the kernels."""
    report: dict[str, Any]
    """The content of `report.json`."""
    seconds: float
    """Of this call."""


def train(
    recipe: Recipe, out: Path, on_event: OnEvent = ignore, *, trainer: Trainer | None = None
) -> TrainingResult:
    """Run all parts of a recipe.

    Args:
        recipe: What to train.
        out: The run's folder; made when missing, resumed when it holds an unfinished run.
        on_event: Told of parts and of every kernel's progress.
        trainer: Trains the kernels; Ray Train when left out.

    Raises:
        CorpusError: The text cannot be used.
        ConfigError: The recipe does not fit the text.
        TrainingError: Training failed; its last good checkpoints are intact.
        BudgetUsedUp: The recipe's budget is; checkpoints are written, the same call with a larger
            one resumes.
        KeyboardInterrupt: Ctrl-C; checkpoints are written, the same call resumes.
    """
    started_s = time.perf_counter()
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    keeper = BudgetKeeper(Budget(**recipe.budget.model_dump()), out)
    log = RunLog(out)

    with open_trackers(recipe.tracking, out, name=recipe.name) as track:

        def tell(event: Event) -> None:
            log(event)
            track(event)
            on_event(event)

        run = _Run(recipe, out, Ledger(out, tell), tell, trainer or _train_with_ray, keeper)
        report = run.all()
    return TrainingResult(
        out=out,
        kernels=tuple(report["kernels"]),
        report=report,
        seconds=time.perf_counter() - started_s,
    )


def _train_with_ray(plan: TrainingPlan, recipe: Recipe, on_event: OnEvent) -> None:
    # Imported here so that the pipeline can be read and tested without Ray.
    from training.runs.ray_trainer import train_with_ray

    train_with_ray(plan, recipe.workers, on_event)


class _Run:
    """One run's folder and parts."""

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        ledger: Ledger,
        tell: OnEvent,
        trainer: Trainer,
        keeper: BudgetKeeper,
    ) -> None:
        self._recipe = recipe
        self._out = out
        self._ledger = ledger
        self._tell = tell
        self._trainer = trainer
        self._keeper = keeper
        self._alone = recipe.mode == "synchronized"

    def all(self) -> dict[str, Any]:
        """Do every part and return the report."""
        corpus = self._corpus()
        coordizer = self._coordizer(corpus)
        if self._alone:
            corpus = as_one_domain(corpus, self._recipe.name)
        plan = self._kernels(corpus, coordizer)
        self._table(corpus, coordizer, plan)
        self._report(corpus, coordizer, plan)
        report: dict[str, Any] = json.loads((self._out / "report.json").read_text("utf-8"))
        return report

    def _corpus(self) -> PreparedCorpus:
        folder = self._out / "corpus"

        def work() -> list[Path]:
            domains_min = 1 if self._alone else 2
            make_corpus(
                self._recipe.corpus, folder, seed=self._recipe.seed, domains_min=domains_min
            )
            return [folder]

        self._ledger.run("corpus", corpus_inputs(self._recipe.corpus, seed=self._recipe.seed), work)
        return load_prepared(folder)

    def _coordizer(self, corpus: PreparedCorpus) -> Coordizer:
        folder = self._out / "coordizer"
        tokens = self._out / "tokens"

        def work() -> list[Path]:
            coordizer = make_coordizer(
                self._recipe.coordizer, corpus, folder, seed=self._recipe.seed
            )
            share = self._recipe.replay_share
            return [folder, *make_tokens(corpus, coordizer, tokens, replay_share=share)]

        inputs = {
            "corpus": self._ledger.output_hash("corpus"),
            "recipe": self._recipe.key("coordizer", "seed"),
            "replay_share": self._recipe.replay_share,
        }
        self._ledger.run("coordizer", inputs, work)
        return Coordizer.load(folder)

    def _kernels(self, corpus: PreparedCorpus, coordizer: Coordizer) -> TrainingPlan:
        # Tokens decide, not the coordizer's files: those hold times.
        tokens_hash = self._ledger.output_hash("coordizer", under="tokens/")
        plan = make_plan(self._recipe, self._out, corpus, coordizer, tokens_hash)
        write_provenance(
            self._out,
            self._recipe,
            plan,
            corpus,
            coordizer_hash=coordizer.hash,
            tokens_hash=tokens_hash,
        )

        def work() -> list[Path]:
            for folder in set((self._out / "kernels").glob("*")) - set(
                map(plan.kernel_folder, plan.kernels)
            ):
                # Of an earlier run with other domains; one that was added is not this run's.
                if not (folder / SITE_FILE).exists():
                    shutil.rmtree(folder)
            self._train(plan)
            if not self._recipe.checkpoints.keep_finished:
                shutil.rmtree(self._out / "checkpoints", ignore_errors=True)
            return [plan.kernel_folder(name) for name in plan.names]

        self._ledger.run("kernels", {"key": plan.key}, work)
        return plan

    def _train(self, plan: TrainingPlan) -> None:
        """Train until all kernels are finished, or raise what ended it before."""
        plan.stop_file.unlink(missing_ok=True)
        with self._keeper.watch(plan.stop_file, self._tell) as tell:
            self._trainer(plan, self._recipe, tell)
        if unfinished := [name for name in plan.names if not is_finished(plan, name)]:
            self._keeper.raise_if_used_up()
            raise TrainingError(
                f"training was stopped before {', '.join(unfinished)} had finished; checkpoints "
                "are written, run the same command to go on from them"
            )

    def _table(self, corpus: PreparedCorpus, coordizer: Coordizer, plan: TrainingPlan) -> None:
        def work() -> list[Path]:
            observed = self._observe(plan)
            fitted = fit_table(corpus, coordizer, phi_gauges=observed.phi_gauges)
            save_table(self._out / "table.msgpack", fitted.table)
            texts = [
                save_texts(self._out, each.name, each.corpora, coordizer_hash=coordizer.hash)
                for each in fitted.texts
            ]
            seating = fitted.seating
            write_json(
                self._out / "table.json",
                {
                    "observables": {"kernels": observed.kernels, "seed": observed.seed},
                    "dev_accuracy": {str(rule): value for rule, value in fitted.accuracy.items()},
                    "num_passages": fitted.num_passages,
                    "seat_distortion": None if seating is None else seating.distortion,
                    "seat_distortion_random": (
                        None if seating is None else seating.random_distortion
                    ),
                },
            )
            return [self._out / "table.msgpack", self._out / "table.json", *texts]

        inputs = {
            "coordizer": coordizer.hash,
            "kernels": self._ledger.output_hash("kernels"),
        }
        self._ledger.run("table", inputs, work)

    def _report(self, corpus: PreparedCorpus, coordizer: Coordizer, plan: TrainingPlan) -> None:
        def work() -> list[Path]:
            report = {
                "recipe": self._recipe.model_dump(mode="json"),
                "kernels": {name: self._facts(plan, name) for name in plan.kernels},
                "seed": None if plan.seed_job is None else self._facts(plan, SEED),
                "held_out": self._held_out(corpus, coordizer, plan),
                "across": self._across(corpus, coordizer, plan),
                "collective": self._collective(corpus, coordizer, plan),
                "table": json.loads((self._out / "table.json").read_text("utf-8")),
                "corpus": dict(corpus.manifest),
                "seconds": self._ledger.last_seconds(),
                "machine": _machine(self._recipe),
            }
            write_json(self._out / "report.json", report)
            return [self._out / "report.json"]

        inputs = {
            "corpus": self._ledger.output_hash("corpus"),
            "table": self._ledger.output_hash("table"),
        }
        self._ledger.run("report", inputs, work)

    def _observe(self, plan: TrainingPlan) -> Observed:
        seed = None if plan.seed_job is None else load_kernel(plan.kernel_folder(SEED))
        return observe(
            {name: self._decoder(plan, name) for name in plan.kernels},
            None if seed is None else seed.decoder,
            {name: np.load(plan.tokens(name, "dev")) for name in plan.kernels},
            seed_hash=None if seed is None else seed.weights_hash,
        )

    def _held_out(
        self, corpus: PreparedCorpus, coordizer: Coordizer, plan: TrainingPlan
    ) -> dict[str, object]:
        scored = score_documents(
            corpus.test,
            coordizer=coordizer,
            policy=RoutingPolicy(load_table(self._out / "table.msgpack")),
            kernels={name: self._decoder(plan, name) for name in plan.kernels},
            seed=self._seed(plan),
            unigram_nats_V=unigram_nats(np.load(plan.tokens(SEED, "train")), coordizer.vocab_size),
        )
        return summarise(scored, random_seed=self._recipe.seed)

    def _across(
        self, corpus: PreparedCorpus, coordizer: Coordizer, plan: TrainingPlan
    ) -> dict[str, object]:
        return score_across(
            corpus.test,
            coordizer=coordizer,
            kernels={name: self._decoder(plan, name) for name in plan.kernels},
            seed=self._seed(plan),
        )

    def _collective(
        self, corpus: PreparedCorpus, coordizer: Coordizer, plan: TrainingPlan
    ) -> dict[str, object] | None:
        """Return what the kernels are worth together; None for one, which is with nobody."""
        if len(plan.kernels) < 2:
            return None
        scores = score_collective(
            corpus.test,
            coordizer=coordizer,
            policy=RoutingPolicy(load_table(self._out / "table.msgpack")),
            kernels={name: self._decoder(plan, name) for name in plan.kernels},
        )
        table = json.loads((self._out / "table.json").read_text("utf-8"))
        measured = table["observables"]["kernels"]
        return collective_report(scores, measured, random_seed=self._recipe.seed)

    def _seed(self, plan: TrainingPlan) -> Decoder | None:
        return None if plan.seed_job is None else self._decoder(plan, SEED)

    def _decoder(self, plan: TrainingPlan, name: str) -> Decoder:
        return open_kernel(plan.kernel_folder(name)).decoder

    def _facts(self, plan: TrainingPlan, name: str) -> dict[str, object]:
        kernel = open_kernel(plan.kernel_folder(name))
        return {**kernel.facts, "num_parameters": kernel.config.num_parameters()}


def _machine(recipe: Recipe) -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "bfloat16": use_bfloat16(recipe.optimiser.precision),
    }
