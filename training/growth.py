"""One more kernel for a finished run: trained as a branch of its seed, or brought along finished.

It leaves `kernels/NAME/` with weights and `site.msgpack`, by which it can join, its text in
`added/NAME/`, and the base of an adapter in `bases/`. Coordizer, seed, table and the other kernels
are read and not written.
"""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus import Corpus, ReadLimits, read_corpus
from constellation.curricula.prepare import PrepareConfig, PreparedCorpus, prepare
from constellation.curricula.split import SplitConfig
from constellation.curricula.store import load_prepared, save_prepared
from constellation.errors import (
    ArtifactError,
    ConfigError,
    CorpusError,
    IncompatibleKernels,
    TrainingError,
)
from constellation.kernel.adapters.files import (
    AdaptedKernel,
    base_folder_of,
    copy_adapter,
    is_adapter,
    load_adapted,
)
from constellation.kernel.checkpoint import KERNEL_FILE, WEIGHTS_FILE, LoadedKernel, load_kernel
from constellation.kernel.hugging_face.files import import_model, is_model
from constellation.records import Table
from constellation.routing.candidate import fit_candidate
from constellation.wire.names import check_kernel_name
from constellation.wire.table_file import SITE_FILE, load_table, save_table
from constellation.wire.texts_file import save_texts
from training.ledger import file_sha256, hash_of
from training.loop.checkpoints import write_json
from training.loop.data import join_documents
from training.plan import make_plan
from training.progress.events import OnEvent, ignore
from training.provenance import RUN_FILE
from training.recipe import CorpusSection, Recipe
from training.refusal import kernel_refusal
from training.replay import sample_replay
from training.runs.branch import is_finished
from training.runs.training_plan import SEED, TrainingPlan
from training.table import kernel_texts, passage_basins

Trainer = Callable[[TrainingPlan, Recipe, OnEvent], None]
"""Trains all that a plan names, as in `training/pipeline.py`."""

RECORD = "added.json"
"""In the folder of an added kernel's text: what its training was made from."""

BASES = "bases"
"""Folder of the bases of added adapters, each under the hash of its weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewKernel:
    """A kernel that is ready to join."""

    name: str
    candidate: Table
    """The table of this kernel alone, as `site.msgpack` holds it."""
    seconds: float
    """Of this call."""
    num_documents: int
    """Documents of its text that it learned from; their basins' mean is its own."""


def train_new(
    artifacts: Path, name: str, text: Path, on_event: OnEvent = ignore, *, trainer: Trainer
) -> NewKernel:
    """Train a kernel for a new domain with the branch stage of the run's own recipe.

    Stopped and called again with the same text it goes on where it was.

    Args:
        artifacts: The run's folder, with its seed.
        name: Of the domain and its kernel.
        text: A file or folder; all of it is one domain.
        on_event: Told of the kernel's progress.
        trainer: Trains it.

    Raises:
        ConfigError: The run has no branches, or the name is reserved.
        CorpusError: The text cannot be used.
        ArtifactError: The run's folder is damaged or incomplete.
        TrainingError: Training failed or was stopped.
    """
    started_s = time.perf_counter()
    run = _Run(artifacts.resolve(), name)
    recipe = _recipe(run.artifacts / RUN_FILE)
    run.check_place_is_free()
    corpus = run.read(text, recipe.corpus)
    plan = run.plan(recipe, corpus)
    if not is_finished(plan, name):
        trainer(plan, recipe, on_event)
        if not is_finished(plan, name):
            raise TrainingError(
                f"training was stopped before {name} had finished; checkpoints are written, run "
                "the same command to go on from them"
            )
    if not recipe.checkpoints.keep_finished:
        _clear(plan.checkpoints, name)
    return run.finish(corpus, started_s)


def import_new(artifacts: Path, name: str, kernel: Path, text: Path) -> NewKernel:
    """Take in a finished kernel; its basin is that of the text given.

    The base of an adapter is copied too, once for all adapters over it, to `bases/` under its hash.

    Args:
        artifacts: The run's folder.
        name: Of the domain and its kernel.
        kernel: Folder of a whole kernel of the same vocabulary, or of an adapter that says where
            its base lies, or of a causal model of `transformers`, which has its own.
        text: A file or folder with text of its domain, some of which calibrates its radii.

    Raises:
        IncompatibleKernels: It was trained with another vocabulary.
        ArtifactError: It is damaged, or an adapter that does not belong to the base it names; or a
            model that cannot be served, as `constellation.kernel.hugging_face.loading.open_model`
            says.
        ConfigError: It is a model, and `transformers` is not installed.
        CorpusError: The text cannot be used.
    """
    started_s = time.perf_counter()
    run = _Run(artifacts.resolve(), name)
    if is_model(kernel):
        return _import_foreign(run, kernel, text, started_s)
    loaded = load_adapted(kernel) if is_adapter(kernel) else load_kernel(kernel)
    if loaded.tokenizer_hash != run.coordizer.tokenizer_hash:
        raise IncompatibleKernels(name)
    corpus = run.read(text, CorpusSection())
    if kernel.resolve() != run.folder:
        run.clear_place()
        if isinstance(loaded, AdaptedKernel):
            base_folder = run.keep_base(base_folder_of(kernel), loaded.base)
            copy_adapter(kernel, run.folder, base_folder=base_folder)
        else:
            _copy_whole(kernel, run.folder)
        run.record(f"imported {loaded.weights_hash}")
    return run.finish(corpus, started_s)


def _holds(folder: Path, weights_hash: str) -> bool:
    try:
        return load_kernel(folder).weights_hash == weights_hash
    except ArtifactError:  # nothing lies there, or not all of it
        return False


def _copy_whole(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for file in (WEIGHTS_FILE, KERNEL_FILE):
        shutil.copy(source / file, target / file)


def _import_foreign(run: "_Run", model: Path, text: Path, started_s: float) -> NewKernel:
    # Imported here: what it needs is optional.
    from constellation.kernel.hugging_face.loading import open_model

    open_model(model)  # before anything is written
    corpus = run.read(text, CorpusSection())
    if model.resolve() != run.folder:
        run.clear_place()
        files = import_model(model, run.folder)
        run.record(f"imported {files.weights_hash}")
    return run.finish(corpus, started_s)


class _Run:
    """A finished run, and the place of one more kernel in it."""

    def __init__(self, artifacts: Path, name: str) -> None:
        if check_kernel_name("name", name) == SEED:
            raise ConfigError(f"{SEED!r} is the name of the shared start; choose another")
        self.artifacts = artifacts
        self._name = name
        self.folder = artifacts / "kernels" / name
        self.coordizer = Coordizer.load(artifacts / "coordizer")
        table = load_table(artifacts / "table.msgpack")
        if table.coordizer_hash != self.coordizer.hash:
            raise ArtifactError(artifacts, "its table was made with another coordizer; train again")
        if any(site.name == name for site in table.sites):
            raise ConfigError(
                f"there is a kernel {name!r} already; choose another name, or remove that one first"
            )

    def check_place_is_free(self) -> None:
        """Raise ConfigError when a kernel lies there that was not added: it would be lost."""
        if self.folder.exists() and not (self._added / RECORD).exists():
            raise ConfigError(
                f"{self.folder} holds a kernel that is not in the table; take it back with: "
                f"constellation add {self._name} {self.folder} --text PATH, or move it away"
            )

    def clear_place(self) -> None:
        """Remove what an earlier kernel of this name left; raises as `check_place_is_free`."""
        self.check_place_is_free()
        shutil.rmtree(self.folder, ignore_errors=True)

    def keep_base(self, source: Path, base: LoadedKernel) -> Path:
        """Return where an adapter's base lies among the artifacts, copied there if it is new."""
        folder = self.artifacts / BASES / base.weights_hash
        if _holds(folder, base.weights_hash):
            return folder
        part = folder.with_name(f".{folder.name}.part")
        for leftover in (part, folder):
            shutil.rmtree(leftover, ignore_errors=True)
        _copy_whole(source, part)
        part.rename(folder)
        return folder

    def read(self, text: Path, section: CorpusSection) -> PreparedCorpus:
        """Read the domain's text, split it as the section says, and keep it."""
        found = read_corpus(text, ReadLimits(skips_max=section.skips_max))
        documents = tuple(replace(document, domain=self._name) for document in found.documents)
        config = PrepareConfig(
            domain_bytes_max=section.domain_bytes_max,
            split=SplitConfig(dev_share=section.dev_share, test_share=section.test_share),
        )
        prepared = prepare(Corpus(documents=documents, skipped=found.skipped), config)
        save_prepared(self._added, prepared)
        return prepared

    def plan(self, recipe: Recipe, corpus: PreparedCorpus) -> TrainingPlan:
        """Return a plan by which the kernel alone is trained, from the run's own seed."""
        if recipe.branch_stage is None:
            raise ConfigError(
                f"{self.artifacts} was trained in mode {recipe.mode}, so it has no branches; "
                "bring a finished kernel and --text"
            )
        tokens = self._write_tokens(corpus, recipe.replay_share)
        tokens_hash = hash_of({path.name: file_sha256(path) for path in tokens})
        plan = make_plan(recipe, self.artifacts, corpus, self.coordizer, tokens_hash)
        made_from = plan.key
        if plan.seed_job is not None:
            # The seed is finished under its own key: with that one it is passed over.
            seed = load_kernel(plan.kernel_folder(SEED))
            plan = replace(plan, key=str(seed.facts.get("run_key")))
            made_from = hash_of({"plan": made_from, "seed": seed.weights_hash})
        self._forget_other_training(plan, made_from)
        return plan

    def record(self, made_from: str) -> None:
        """Write down what the kernel was made from."""
        write_json(self._added / RECORD, {"made_from": made_from})

    def finish(self, corpus: PreparedCorpus, started_s: float) -> NewKernel:
        """Fit where the kernel routes from, and keep it beside the weights."""
        passages_NK, _ = passage_basins(corpus.dev, self.coordizer)
        if not len(passages_NK):
            raise CorpusError(
                f"domain {self._name!r}",
                "no held-out document is long enough to calibrate on; add text",
            )
        texts = kernel_texts(corpus.train, self._name, self.coordizer)
        candidate = fit_candidate(
            texts,
            passages_NK,
            refusal=kernel_refusal(corpus.train, corpus.dev, texts, self.coordizer),
            background_K=self.coordizer.background_K,
            coordizer_hash=self.coordizer.hash,
        )
        save_texts(self.artifacts, self._name, texts.corpora, coordizer_hash=self.coordizer.hash)
        save_table(self.folder / SITE_FILE, candidate)
        return NewKernel(
            name=self._name,
            candidate=candidate,
            seconds=time.perf_counter() - started_s,
            num_documents=len(corpus.train),
        )

    @property
    def _added(self) -> Path:
        return self.artifacts / "added" / self._name

    def _write_tokens(self, corpus: PreparedCorpus, replay_share: float) -> list[Path]:
        folder = self.artifacts / "tokens"
        folder.mkdir(exist_ok=True)
        written, own = [], 0
        for split in ("train", "dev"):
            texts = [document.text for document in corpus.of_split(split)]
            tokens = self.coordizer.encode_batch(texts)
            own = own or sum(map(len, tokens))
            written.append(folder / f"{self._name}.{split}.npy")
            np.save(written[-1], join_documents(tokens, self.coordizer.end_id))
        if replay_share > 0:
            written.append(folder / f"{self._name}.replay.npy")
            self._write_replay(written[-1], own_tokens=own, share=replay_share)
        return written

    def _write_replay(self, path: Path, *, own_tokens: int, share: float) -> None:
        others = load_prepared(self.artifacts / "corpus").train
        replay = sample_replay(
            self.coordizer.encode_batch([document.text for document in others]),
            own_tokens=own_tokens,
            share=share,
            name=self._name,
        )
        np.save(path, join_documents(replay, self.coordizer.end_id))

    def _forget_other_training(self, plan: TrainingPlan, made_from: str) -> None:
        """Drop what an earlier training of this name left, unless it was of the same."""
        record = self._added / RECORD
        if record.exists() and json.loads(record.read_text("utf-8")) == {"made_from": made_from}:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(plan.checkpoints / self._name, ignore_errors=True)
        self.record(made_from)


def _clear(checkpoints: Path, name: str) -> None:
    """Remove a kernel's checkpoints; others in the run's folder may still be gone on from."""
    shutil.rmtree(checkpoints / name, ignore_errors=True)
    if checkpoints.is_dir() and not any(path.is_dir() for path in checkpoints.iterdir()):
        shutil.rmtree(checkpoints)
    if checkpoints.parent.is_dir() and not any(checkpoints.parent.iterdir()):
        checkpoints.parent.rmdir()


def _recipe(path: Path) -> Recipe:
    """Return the recipe that a run was made by."""
    try:
        return Recipe.model_validate(json.loads(path.read_text(encoding="utf-8"))["recipe"])
    except OSError as error:
        raise ArtifactError(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(path, f"does not say how the run was made: {error}") from error
