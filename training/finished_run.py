"""Read a finished run and write the files of one more kernel into its folder.

All reasons to refuse a kernel (name, text, room for one more) are checked before it is trained and
before anything is written. Then it is trained or copied, and last the record of its text is
written, from which the next release is made.
"""

import json
import shutil
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus import read_corpus, without_names
from constellation.curricula.corpus_store import load_prepared, save_prepared
from constellation.curricula.prepare import PrepareConfig, PreparedCorpus, prepare
from constellation.curricula.split import SplitConfig
from constellation.domains.membership import KERNELS_MAX
from constellation.domains.record import Domain, unlearn
from constellation.errors import ArtifactError, ConfigError, GrowthRefused
from constellation.kernel.files.checkpoint import (
    KERNEL_FILE,
    WEIGHTS_FILE,
    LoadedKernel,
    load_kernel,
)
from constellation.kernel.files.own_vocabulary import has_own_vocabulary
from constellation.kernel.files.prompt_format import PROMPT_FILE
from constellation.kernel.files.symbol_vocabulary import SYMBOLS_FILE
from constellation.kernel.files.transformers_folder import check_model, import_model
from constellation.releases.builder import domain_path, load_domain
from constellation.releases.store import ReleaseStore
from constellation.wire.kernel_names import check_kernel_name
from training.domain_records import domain_records
from training.json_files import write_json
from training.kernel_files import remove_kernel
from training.kernel_text import ADDED, CORPUS, is_kept, prepared_text
from training.ledger import file_sha256, hash_of
from training.plan import make_plan
from training.recipe import Recipe
from training.recipe_corpus import CorpusSection
from training.runs.training_plan import SEED, TrainingPlan
from training.text_amount import check_calibration_text
from training.text_replay import sample_replay
from training.token_files import write_tokens

RECORD: Final = "added.json"
"""Name of the record, beside an added kernel's text, of what its training was made from."""

BASES: Final = "bases"
"""Name of the folder with the bases of added adapters, each under the hash of its weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """The text of a kernel that is to join a run."""

    corpus: PreparedCorpus
    domain: Domain
    """Domain record of the text, by which the kernel joins."""
    kept: bool
    """Whether the run holds this text already, so that it is not written again."""


class GrowingRun:
    """A finished run and the name of a kernel that is to join it.

    Raises:
        InvalidRequest, ConfigError: The name cannot be a new kernel's.
        ArtifactError: The run is not finished, or damaged.
        GrowthRefused: There is no room for another kernel.
    """

    def __init__(self, artifacts: Path, name: str) -> None:
        if check_kernel_name("name", name) == SEED:
            raise ConfigError(f"{SEED!r} is the name of the shared start; choose another")
        self.artifacts = artifacts
        self.name = name
        self.folder = artifacts / "kernels" / name
        self._added = artifacts / ADDED / name
        store = ReleaseStore(artifacts)
        release = store.read_current()
        self.coordizer = Coordizer.load(store.folder(release.version) / "coordizer")
        served = [kernel.name for kernel in release.kernels]
        if name in served:
            raise ConfigError(
                f"there is a kernel {name!r} already; choose another name, or remove that one first"
            )
        if len(served) >= KERNELS_MAX:
            raise GrowthRefused(name, f"there are {KERNELS_MAX} kernels already; remove one first")

    def check_place_is_free(self) -> None:
        """Raise ConfigError when a kernel that was not added is there: it would be lost."""
        if self.folder.exists() and not (self._added / RECORD).exists():
            raise ConfigError(
                f"{self.folder} holds a kernel that is not served; take it back with: "
                f"constellation add {self.name} {self.folder}, or move it away"
            )

    def clear_place(self) -> None:
        """Remove the files of an earlier kernel of this name; raises as `check_place_is_free`."""
        self.check_place_is_free()
        remove_kernel(self.folder)

    def kept_domain(self) -> Domain | None:
        """Return the domain record stored when the kernel was removed; None when there is none.

        One of another vocabulary is returned for a model with tokens of its own alone: its text
        can be read anew, and the record says what was unlearned of it.

        Raises:
            ArtifactError: The record is damaged, or of another vocabulary than the run has now.
        """
        path = domain_path(self.artifacts, self.name)
        if not path.is_file():
            return None
        domain = load_domain(self.artifacts, self.name)
        if not self.speaks(domain) and not has_own_vocabulary(self.folder):
            raise ArtifactError(
                path,
                "was made with another vocabulary than this run has now; train the kernel again: "
                f"constellation add {self.name} {self._added}",
            )
        return domain

    def speaks(self, domain: Domain) -> bool:
        """Return whether a record is in the tokens of the run's present coordizer."""
        return domain.tokenizer_hash == self.coordizer.tokenizer_hash

    def keep_base(self, source: Path, base: LoadedKernel) -> Path:
        """Copy an adapter's base into the artifacts if it is new; return its folder there."""
        folder = self.artifacts / BASES / base.weights_hash
        if _holds(folder, base.weights_hash):
            return folder
        part = folder.with_name(f".{folder.name}.part")
        for leftover in (part, folder):
            shutil.rmtree(leftover, ignore_errors=True)
        copy_whole(source, part)
        part.rename(folder)
        return folder

    def keep_model_base(self, source: Path) -> str:
        """Copy the model under an adapter to `bases/`, if it is new; return its weights' hash.

        Raises:
            ArtifactError: It is no whole model.
        """
        bases = self.artifacts / BASES
        part = bases / ".model.part"
        shutil.rmtree(part, ignore_errors=True)
        known = import_model(source, part).weights_hash
        if (bases / known).is_dir():
            shutil.rmtree(part)
            check_model(bases / known)
        else:
            part.rename(bases / known)
        return known

    def read(self, text: Path, section: CorpusSection) -> Arrival:
        """Read the domain's text; nothing is written.

        Text that was split before, by this run or another, stays split as it was.

        Raises:
            CorpusError: The text cannot be used, or is too little.
            ConfigError: The text holds the run itself.
        """
        corpus = prepared_text(text, self.artifacts, self.name)
        if corpus is None:
            corpus = self._prepare(text, section)
        return self.fit(corpus, kept=is_kept(text, self.artifacts, self.name))

    def fit(
        self, corpus: PreparedCorpus, *, kept: bool, unlearned: Collection[str] = ()
    ) -> Arrival:
        """Return the text with its record, without unlearned sources; raises as `read`."""
        check_calibration_text(corpus, self.coordizer)
        (domain,) = domain_records(corpus, self.coordizer)
        for source in unlearned:
            domain = unlearn(domain, source)
        return Arrival(corpus=corpus, domain=domain, kept=kept)

    def keep(self, arrival: Arrival) -> None:
        """Write the text that a kernel is made of, unless the run holds it already."""
        if not arrival.kept:
            save_prepared(self._added, arrival.corpus)

    def plan(self, recipe: Recipe, corpus: PreparedCorpus) -> TrainingPlan:
        """Write the kernel's tokens; return a plan that trains this kernel alone from the seed."""
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
        """Write the hash of what the kernel was made from."""
        write_json(self._added / RECORD, {"made_from": made_from})

    def _prepare(self, text: Path, section: CorpusSection) -> PreparedCorpus:
        if self.artifacts.is_relative_to(text.resolve()):
            raise ConfigError(
                f"{text} contains the run's own folder, {self.artifacts}, whose files are not text "
                "of a domain; give a folder with the text alone"
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
            path = folder / f"{self.name}.{split}.npy"
            written.append(write_tokens(path, tokens, self.coordizer.end_id))
        if replay_share > 0:
            texts = [document.text for document in load_prepared(self.artifacts / CORPUS).train]
            others = self.coordizer.encode_batch(texts)
            replay = sample_replay(others, own_tokens=own, share=replay_share, name=self.name)
            path = folder / f"{self.name}.replay.npy"
            written.append(write_tokens(path, replay, self.coordizer.end_id))
        return written

    def _forget_other_training(self, plan: TrainingPlan, made_from: str) -> None:
        """Remove the files of an earlier training of this name, unless its inputs were the same."""
        record = self._added / RECORD
        if record.exists() and json.loads(record.read_text("utf-8")) == {"made_from": made_from}:
            return
        remove_kernel(self.folder)
        shutil.rmtree(plan.checkpoints / self.name, ignore_errors=True)
        self.record(made_from)


def copy_whole(source: Path, target: Path) -> None:
    """Copy the files of a kernel that is not an adapter, with its vocabulary and prompt format."""
    target.mkdir(parents=True, exist_ok=True)
    own = [name for name in (SYMBOLS_FILE, PROMPT_FILE) if (source / name).is_file()]
    for file in (*own, WEIGHTS_FILE, KERNEL_FILE):
        shutil.copy(source / file, target / file)


def _holds(folder: Path, weights_hash: str) -> bool:
    try:
        return load_kernel(folder).weights_hash == weights_hash
    except ArtifactError:  # nothing lies there, or not all of it
        return False
