"""Run all parts of a training: corpus, coordizer, kernels, routing table, release, report.

Every part that is finished and whose inputs and files have not changed is skipped, so a run that
was stopped is resumed, and a finished one is only read. Ray must have been started by the caller
(`cluster/bootstrap.py`); it is used by the training part alone.
"""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from constellation.atomic_files import write_whole
from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus_store import load_prepared
from constellation.curricula.prepare import PreparedCorpus
from constellation.curricula.reading_report import corpus_lines
from constellation.domains.fit import FitOptions, Fitted, fit
from constellation.domains.record import Domain
from constellation.domains.record_file import SCHEMA_VERSION, pack_domain, unpack_domain
from constellation.errors import TrainingError
from constellation.kernel.adapters.kernel_folder import open_kernel
from constellation.kernel.files.checkpoint import load_kernel
from constellation.releases.builder import DOMAINS
from constellation.wire.run_lock import owned
from constellation.wire.table_file import save_table
from training.domain_records import domain_records, fit_options
from training.evaluation.observables import Observed, observe
from training.file_errors import typed_writes
from training.joined_kernels import FormerRun
from training.json_files import write_json
from training.kernel_files import names_in, remove_kernel, stamps, trained_files
from training.kernel_text import ADDED
from training.ledger import Ledger
from training.plan import make_plan
from training.preflight import check_corpus, check_recipe
from training.progress.events import CorpusRead, Event, Notice, OnEvent, ignore
from training.progress.run_log import RunLog
from training.progress.text_progress import TextProgress
from training.provenance import write_provenance
from training.recipe import Recipe
from training.run_report import RunReport
from training.runs.budget_keeper import BudgetKeeper
from training.runs.training_plan import SEED, TrainingPlan
from training.runs.worker import is_finished
from training.stop_reasons import unfinished_words
from training.text_amount import check_calibration_text, in_words, unscored_domains
from training.text_preparation import (
    as_one_domain,
    corpus_inputs,
    make_corpus,
    make_replay,
    make_text_files,
)
from training.trackers.open_trackers import open_trackers

TEXTS: Final = "texts"
"""Folder with the domain records of a run's own kernels, as their text was read."""

Trainer = Callable[[TrainingPlan, Recipe, OnEvent], None]
"""Function that trains all kernels of a plan; when the plan's stop file appears, it may return
early."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingResult:
    """The folder, kernels and report of a finished run."""

    out: Path
    """Folder of the run: holds `coordizer/`, `kernels/NAME/`, `seed/`, `table.msgpack` and
    `report.json`, and the releases that are served."""
    kernels: tuple[str, ...]
    """Names of the kernels."""
    report: dict[str, Any]
    """The content of `report.json`."""
    seconds: float
    """Seconds that this call took."""


def train(
    recipe: Recipe, out: Path, on_event: OnEvent = ignore, *, trainer: Trainer | None = None
) -> TrainingResult:
    """Run all parts of a recipe.

    The folder `out` is made when missing, and resumed when it holds an unfinished run. Ray Train
    trains the kernels, unless a `trainer` is given.

    Raises:
        CorpusError: The text cannot be used.
        ConfigError: The recipe does not fit the text.
        TrainingError: Training failed, and its last good checkpoints are intact; or another
            process writes to the folder.
        BudgetUsedUp: The recipe's budget is used up; checkpoints are written, and the same call
            with a larger budget resumes.
        ArtifactError: The folder cannot be written: the disk is full or read-only, or it is a file.
        KeyboardInterrupt: Ctrl-C; checkpoints are written, the same call resumes.
    """
    started_s = time.perf_counter()
    out = out.resolve()
    check_recipe(recipe, out)
    with typed_writes(out):
        out.mkdir(parents=True, exist_ok=True)
        with owned(out, "a training", TrainingError):
            report = _train(recipe, out, on_event, trainer or _train_with_ray)
    return TrainingResult(
        out=out,
        kernels=tuple(report["kernels"]),
        report=report,
        seconds=time.perf_counter() - started_s,
    )


def _train(recipe: Recipe, out: Path, on_event: OnEvent, trainer: Trainer) -> dict[str, Any]:
    before = FormerRun(out, _made_before(Ledger(out, ignore)))
    before.check_adopted()  # before a line is written
    before.check_recipe(recipe)
    keeper = BudgetKeeper(recipe.budget, out)
    log = RunLog(out)

    with open_trackers(recipe.tracking, out, name=recipe.name) as track:

        def tell(event: Event) -> None:
            log(event)
            track(event)
            on_event(event)

        return _Run(recipe, out, Ledger(out, tell), tell, trainer, keeper, before).all()


def _train_with_ray(plan: TrainingPlan, recipe: Recipe, on_event: OnEvent) -> None:
    # Imported here so that the pipeline can be read and tested without Ray.
    from training.runs.ray_trainer import train_with_ray

    train_with_ray(plan, recipe.workers, on_event)


def _made_before(ledger: Ledger) -> set[str]:
    """Return the kernels of the last release that training made, without those that joined later.

    A training that ended before its release has replaced kernels, but not what is served.
    """
    released = {Path(name).stem for name in ledger.folders("release", under=f"{TEXTS}/")}
    return released or ledger.folders("kernels", under="kernels/")


class _Run:
    """The parts of one run in its folder."""

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        ledger: Ledger,
        tell: OnEvent,
        trainer: Trainer,
        keeper: BudgetKeeper,
        before: FormerRun,
    ) -> None:
        self._recipe = recipe
        self._out = out
        self._ledger = ledger
        self._on_event = tell
        self._trainer = trainer
        self._keeper = keeper
        self._before = before
        self._fitted: Fitted | None = None
        self._alone = recipe.mode == "synchronized"

    def all(self) -> dict[str, Any]:
        """Run every part and return the report."""
        corpus = self._corpus()
        coordizer = self._coordizer(corpus)
        if self._alone:
            corpus = as_one_domain(corpus, self._recipe.name)
        plan = self._kernels(corpus, coordizer)
        self._table(corpus, coordizer, plan)
        self._release(coordizer, plan)
        return self._report(corpus, coordizer, plan)

    def _corpus(self) -> PreparedCorpus:
        folder = self._out / "corpus"

        def check(corpus: PreparedCorpus) -> None:
            check_corpus(corpus, self._recipe)
            self._before.check_corpus(corpus)

        def work() -> list[Path]:
            domains_min = 1 if self._alone else 2
            make_corpus(
                self._recipe.corpus,
                folder,
                seed=self._recipe.seed,
                domains_min=domains_min,
                check=check,
                on_step=TextProgress(self._on_event),
            )
            return [folder]

        self._ledger.run("corpus", corpus_inputs(self._recipe.corpus, seed=self._recipe.seed), work)
        corpus = load_prepared(folder)
        self._on_event(CorpusRead(lines=corpus_lines(corpus.manifest)))
        return corpus

    def _coordizer(self, corpus: PreparedCorpus) -> Coordizer:
        folder, tokens = self._out / "coordizer", self._out / "tokens"

        def work() -> list[Path]:
            written = make_text_files(
                self._recipe.coordizer,
                self._out / "corpus",
                folder,
                tokens,
                self._recipe.seed,
                on_step=TextProgress(self._on_event),
            )
            return [folder, *written]

        inputs = {
            "corpus": self._ledger.output_hash("corpus"),
            "recipe": self._recipe.key("coordizer", "seed"),
        }
        self._ledger.run("coordizer", inputs, work)
        coordizer = Coordizer.load(folder)
        share = self._recipe.replay_share
        if share > 0:
            self._ledger.run(
                "replay",
                {"tokens": self._ledger.output_hash("coordizer", under="tokens/"), "share": share},
                lambda: make_replay(corpus, tokens, share),
            )
        return coordizer

    def _kernels(self, corpus: PreparedCorpus, coordizer: Coordizer) -> TrainingPlan:
        # Tokens decide, not the coordizer's files: those hold times.
        parts = ("coordizer", "replay") if self._recipe.replay_share > 0 else ("coordizer",)
        tokens_hash = self._ledger.output_hash(*parts, under="tokens/")
        seed_hash = self._ledger.output_hash("coordizer", under=f"tokens/{SEED}.")
        plan = make_plan(self._recipe, self._out, corpus, coordizer, tokens_hash, seed_hash)
        self._before.check_room(plan.kernels)

        def work() -> list[Path]:
            self._check_text(corpus, coordizer, plan)
            self._clear_kernels(plan)
            self._train(plan)
            if not self._recipe.checkpoints.keep_finished:
                shutil.rmtree(self._out / "checkpoints", ignore_errors=True)
            return [path for name in plan.names for path in trained_files(plan.kernel_folder(name))]

        write_provenance(
            self._out,
            self._recipe,
            plan,
            corpus,
            coordizer_hash=coordizer.hash,
            tokens_hash=tokens_hash,
        )
        self._ledger.run("kernels", {"key": plan.key}, work)
        return plan

    def _check_text(self, corpus: PreparedCorpus, coordizer: Coordizer, plan: TrainingPlan) -> None:
        """Raise for too little held-out text before the first step, or note what is left out."""
        check_calibration_text(corpus, coordizer)
        context = plan.context
        unscored = unscored_domains(corpus, coordizer, context=context)
        if unscored:
            self._on_event(Notice(text=in_words(unscored, context=context)))

    def _clear_kernels(self, plan: TrainingPlan) -> None:
        """Remove the kernels of an earlier training on other domains; name unknown folders."""
        kernels = self._out / "kernels"
        joined = self._before.joined(plan.kernels)
        stale = self._ledger.folders("kernels", under="kernels/") - {*plan.kernels, *joined}
        for name in sorted(stale):
            remove_kernel(kernels / name)
        left = {Path(name).stem for name in names_in(self._out / DOMAINS)}
        known = {*plan.kernels, *joined, *left, *names_in(self._out / ADDED)}
        strangers = [name for name in names_in(kernels) if name not in known]
        if strangers:
            strangers_note = f"left alone in {kernels}, not of this run: {', '.join(strangers)}"
            self._on_event(Notice(text=strangers_note))

    def _train(self, plan: TrainingPlan) -> None:
        """Train until all kernels are finished, or raise the reason of an early end."""
        plan.stop_file.unlink(missing_ok=True)
        before = {name: stamps(plan.kernel_folder(name)) for name in plan.names}
        with self._keeper.watch(plan.stop_file, self._on_event) as tell:
            self._trainer(plan, self._recipe, tell)
        if unfinished := [name for name in plan.names if not is_finished(plan, name)]:
            self._keeper.raise_if_used_up()
            changed = [n for n in unfinished if stamps(plan.kernel_folder(n)) != before[n]]
            raise TrainingError(unfinished_words(plan, unfinished, changed))

    def _table(self, corpus: PreparedCorpus, coordizer: Coordizer, plan: TrainingPlan) -> None:
        """Fit the routing table of the run's own kernels, with which held-out text is measured."""

        def work() -> list[Path]:
            observed = self._observe(plan)
            domains = domain_records(corpus, coordizer, observed.phi_gauges)
            self._fitted = fitted = fit(domains, coordizer, self._options(coordizer, domains))
            for domain in domains:
                write_whole(self._record(domain.name), pack_domain(domain))
            save_table(self._out / "table.msgpack", fitted.table)
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
            records = [self._record(domain.name) for domain in domains]
            return [self._out / "table.msgpack", self._out / "table.json", *records]

        inputs = {
            "coordizer": coordizer.hash,
            "recipe": self._recipe.key("routing"),
            "kernels": self._ledger.output_hash("kernels"),
            "records": SCHEMA_VERSION,
        }
        self._ledger.run("table", inputs, work)

    def _release(self, coordizer: Coordizer, plan: TrainingPlan) -> None:
        """Make the run's kernels the current release, with kernels that joined since its training.

        Done as late as possible: others change the release.
        """

        def work() -> list[Path]:
            records = [self._record(name) for name in plan.kernels]
            own = [unpack_domain(path.read_bytes(), source=path) for path in records]
            release = self._before.publish(
                own,
                coordizer,
                basins_max=self._recipe.routing.basins_max,
                fitted=self._fitted,
                on_event=self._on_event,
            )
            return [self._out / "releases" / f"{release.version}.msgpack", *records]

        inputs = {
            "kernels": self._ledger.output_hash("kernels"),
            "table": self._ledger.output_hash("table"),
        }
        self._ledger.run("release", inputs, work)

    def _record(self, name: str) -> Path:
        """Return the path of the domain record of one of the run's own kernels."""
        return self._out / TEXTS / f"{name}.msgpack"

    def _options(self, coordizer: Coordizer, domains: Sequence[Domain]) -> FitOptions:
        names = [domain.name for domain in domains]
        return fit_options(coordizer, names, basins_max=self._recipe.routing.basins_max)

    def _report(
        self, corpus: PreparedCorpus, coordizer: Coordizer, plan: TrainingPlan
    ) -> dict[str, Any]:
        path = self._out / "report.json"

        def work() -> list[Path]:
            made = RunReport(
                recipe=self._recipe, out=self._out, corpus=corpus, coordizer=coordizer, plan=plan
            )
            write_json(path, made.measure(self._ledger.last_seconds()))
            return [path]

        inputs = {
            "corpus": self._ledger.output_hash("corpus"),
            "table": self._ledger.output_hash("table"),
        }
        self._ledger.run("report", inputs, work)
        report: dict[str, Any] = json.loads(path.read_text("utf-8"))
        recipe = self._recipe.model_dump(mode="json")
        if report["recipe"] != recipe:  # of a change that decides no figure, such as its name
            report["recipe"] = recipe
            write_json(path, report)
            self._ledger.amend("report", [path])
        return report

    def _observe(self, plan: TrainingPlan) -> Observed:
        seed = None if plan.seed_job is None else load_kernel(plan.kernel_folder(SEED))
        return observe(
            {name: open_kernel(plan.kernel_folder(name)).decoder for name in plan.kernels},
            None if seed is None else seed.decoder,
            {name: np.load(plan.tokens(name, "dev"), mmap_mode="r") for name in plan.kernels},
            seed_hash=None if seed is None else seed.weights_hash,
        )
