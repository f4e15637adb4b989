"""A finished run, and the place of one more kernel in it.

Everything that can refuse a kernel is asked before its training and before anything is written:
its name, its text, whether it fits the table. A training or a copy follows, then the files that
it joins by.
"""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus import read_corpus, without_names
from constellation.curricula.prepare import PrepareConfig, PreparedCorpus, prepare
from constellation.curricula.split import SplitConfig
from constellation.curricula.store import load_prepared, save_prepared
from constellation.errors import ArtifactError, ConfigError
from constellation.kernel.checkpoint import KERNEL_FILE, WEIGHTS_FILE, LoadedKernel, load_kernel
from constellation.kernel.hugging_face.files import is_imported
from constellation.records import Table
from constellation.routing.candidate import fit_candidate
from constellation.routing.growth import add_kernel
from constellation.routing.sites import KernelTexts
from constellation.wire.names import check_kernel_name
from constellation.wire.table_file import SITE_FILE, load_table, save_table
from constellation.wire.texts_file import save_texts
from training.enough_text import check_calibration_text
from training.kept_text import ADDED, CORPUS, is_kept, prepared_text
from training.kernel_files import remove_kernel
from training.ledger import file_sha256, hash_of
from training.loop.checkpoints import write_json
from training.loop.data import join_documents
from training.plan import make_plan
from training.recipe import Recipe
from training.recipe_corpus import CorpusSection
from training.refusal import kernel_refusal
from training.replay import sample_replay
from training.runs.training_plan import SEED, TrainingPlan
from training.table import kernel_texts, passage_basins

RECORD: Final = "added.json"
"""In the folder of an added kernel's text: what its training was made from."""

BASES: Final = "bases"
"""Folder of the bases of added adapters, each under the hash of its weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """The text of a kernel that is to join, and where it makes the kernel lie."""

    corpus: PreparedCorpus
    texts: KernelTexts
    candidate: Table
    """The table of this kernel alone."""
    kept: bool
    """Whether the run keeps this text already, so that it is not written again."""


class GrowingRun:
    """A run and the name of a kernel that is to join it.

    Args:
        artifacts: The run's folder.
        name: Of the kernel and its domain.

    Raises:
        InvalidRequest, ConfigError: The name cannot be a new kernel's.
        ArtifactError: The run is not finished, or damaged.
    """

    def __init__(self, artifacts: Path, name: str) -> None:
        if check_kernel_name("name", name) == SEED:
            raise ConfigError(f"{SEED!r} is the name of the shared start; choose another")
        self.artifacts = artifacts
        self.name = name
        self.folder = artifacts / "kernels" / name
        self._added = artifacts / ADDED / name
        self.coordizer = Coordizer.load(artifacts / "coordizer")
        self._table = load_table(artifacts / "table.msgpack")
        if self._table.coordizer_hash != self.coordizer.hash:
            raise ArtifactError(artifacts, "its table was made with another coordizer; train again")
        if any(site.name == name for site in self._table.sites):
            raise ConfigError(
                f"there is a kernel {name!r} already; choose another name, or remove that one first"
            )

    def check_place_is_free(self) -> None:
        """Raise ConfigError when a kernel lies there that was not added: it would be lost."""
        if self.folder.exists() and not (self._added / RECORD).exists():
            raise ConfigError(
                f"{self.folder} holds a kernel that is not in the table; take it back with: "
                f"constellation add {self.name} {self.folder}, or move it away"
            )

    def clear_place(self) -> None:
        """Remove what an earlier kernel of this name left; raises as `check_place_is_free`."""
        self.check_place_is_free()
        remove_kernel(self.folder)

    def kept_site(self) -> Table | None:
        """Return where the kernel routed from when it left; None when that was not kept.

        Of a Hugging Face model that left under another coordizer it is None too: the model does not
        depend on the coordizer, and its text shows anew where it lies.

        Raises:
            ArtifactError: What was kept is damaged, or belongs to another coordizer.
        """
        path = self.folder / SITE_FILE
        if not path.is_file():
            return None
        candidate = load_table(path)
        if [site.name for site in candidate.sites] != [self.name]:
            raise ArtifactError(
                path, f"is not that of the kernel {self.name!r}; add it with --text"
            )
        if candidate.coordizer_hash != self.coordizer.hash:
            if is_imported(self.folder):
                return None
            raise ArtifactError(
                path,
                "was made with another coordizer than this run has now; train the kernel again: "
                f"constellation add {self.name} {self._added}",
            )
        add_kernel(self._table, candidate)
        return candidate

    def keep_base(self, source: Path, base: LoadedKernel) -> Path:
        """Return where an adapter's base lies among the artifacts, copied there if it is new."""
        folder = self.artifacts / BASES / base.weights_hash
        if _holds(folder, base.weights_hash):
            return folder
        part = folder.with_name(f".{folder.name}.part")
        for leftover in (part, folder):
            shutil.rmtree(leftover, ignore_errors=True)
        copy_whole(source, part)
        part.rename(folder)
        return folder

    def read(self, text: Path, section: CorpusSection) -> Arrival:
        """Read the domain's text and find where a kernel of it lies; nothing is written.

        Text that was split before, by this run or another, stays split as it was.

        Raises:
            CorpusError: The text cannot be used, or is too little.
            ConfigError: The text holds the run itself.
            GrowthRefused: A kernel of this text does not fit the table.
        """
        corpus = prepared_text(text, self.artifacts, self.name)
        if corpus is None:
            corpus = self._prepare(text, section)
        return self.fit(corpus, kept=is_kept(text, self.artifacts, self.name))

    def fit(self, corpus: PreparedCorpus, *, kept: bool) -> Arrival:
        """Return where a kernel of this text lies; raises as `read`."""
        check_calibration_text(corpus, self.coordizer)
        texts = kernel_texts(corpus.train, self.name, self.coordizer)
        passages_NK, _ = passage_basins(corpus.dev, self.coordizer)
        candidate = fit_candidate(
            texts,
            passages_NK,
            refusal=kernel_refusal(corpus.train, corpus.dev, texts, self.coordizer),
            background_K=self.coordizer.background_K,
            coordizer_hash=self.coordizer.hash,
        )
        add_kernel(self._table, candidate)
        return Arrival(corpus=corpus, texts=texts, candidate=candidate, kept=kept)

    def keep(self, arrival: Arrival) -> None:
        """Write down the text that a kernel is made of, unless the run keeps it already."""
        if not arrival.kept:
            save_prepared(self._added, arrival.corpus)

    def plan(self, recipe: Recipe, corpus: PreparedCorpus) -> TrainingPlan:
        """Write the kernel's tokens; return a plan by which it alone is trained from the seed."""
        tokens = self._write_tokens(corpus, recipe.replay_share)
        tokens_hash = hash_of({path.name: file_sha256(path) for path in tokens})
        plan = make_plan(recipe, self.artifacts, corpus, self.coordizer, tokens_hash)
        made_from = plan.key
        if plan.seed_job is not None:
            # The seed is finished under its own key: with that one it is passed over.
            seed = load_kernel(plan.kernel_folder(SEED))
            plan = replace(plan, seed_key=str(seed.facts.get("run_key")))
            made_from = hash_of({"plan": made_from, "seed": seed.weights_hash})
        self._forget_other_training(plan, made_from)
        return plan

    def record(self, made_from: str) -> None:
        """Write down what the kernel was made from."""
        write_json(self._added / RECORD, {"made_from": made_from})

    def finish(self, arrival: Arrival) -> None:
        """Keep beside the kernel where it routes from, and what that is made of."""
        texts = arrival.texts.sums()
        save_texts(self.artifacts, self.name, texts, coordizer_hash=self.coordizer.hash)
        save_table(self.folder / SITE_FILE, arrival.candidate)

    def _prepare(self, text: Path, section: CorpusSection) -> PreparedCorpus:
        if self.artifacts.is_relative_to(text.resolve()):
            raise ConfigError(
                f"{text} holds the run itself, {self.artifacts}, whose files are no text of a "
                "domain; give a folder with the text alone"
            )
        found = read_corpus(text, section.limits)
        documents = tuple(replace(document, domain=self.name) for document in found.documents)
        config = PrepareConfig(
            domain_bytes_max=section.domain_bytes_max,
            split=SplitConfig(dev_share=section.dev_share, test_share=section.test_share),
        )
        return prepare(replace(found, documents=documents, reading=without_names(found)), config)

    def _write_tokens(self, corpus: PreparedCorpus, replay_share: float) -> list[Path]:
        folder = self.artifacts / "tokens"
        folder.mkdir(exist_ok=True)
        written, own = [], 0
        for split in ("train", "dev"):
            texts = [document.text for document in corpus.of_split(split)]
            tokens = self.coordizer.encode_batch(texts)
            own = own or sum(map(len, tokens))
            written.append(folder / f"{self.name}.{split}.npy")
            np.save(written[-1], join_documents(tokens, self.coordizer.end_id))
        if replay_share > 0:
            written.append(folder / f"{self.name}.replay.npy")
            self._write_replay(written[-1], own_tokens=own, share=replay_share)
        return written

    def _write_replay(self, path: Path, *, own_tokens: int, share: float) -> None:
        others = load_prepared(self.artifacts / CORPUS).train
        replay = sample_replay(
            self.coordizer.encode_batch([document.text for document in others]),
            own_tokens=own_tokens,
            share=share,
            name=self.name,
        )
        np.save(path, join_documents(replay, self.coordizer.end_id))

    def _forget_other_training(self, plan: TrainingPlan, made_from: str) -> None:
        """Drop what an earlier training of this name left, unless it was of the same."""
        record = self._added / RECORD
        if record.exists() and json.loads(record.read_text("utf-8")) == {"made_from": made_from}:
            return
        remove_kernel(self.folder)
        shutil.rmtree(plan.checkpoints / self.name, ignore_errors=True)
        self.record(made_from)


def copy_whole(source: Path, target: Path) -> None:
    """Copy the files of a whole kernel."""
    target.mkdir(parents=True, exist_ok=True)
    for file in (WEIGHTS_FILE, KERNEL_FILE):
        shutil.copy(source / file, target / file)


def _holds(folder: Path, weights_hash: str) -> bool:
    try:
        return load_kernel(folder).weights_hash == weights_hash
    except ArtifactError:  # nothing lies there, or not all of it
        return False
