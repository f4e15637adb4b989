"""Convert an artifacts folder of version 0.1.0, which kept one table, into a first release.

Domain records are made from the text that the folder keeps of each kernel in its table, and the
first release is made from these records. If all kernels came from one training, and are at most 48,
coordizer, basins, radii and temperatures stay the same to the bit; with more kernels the number of
outcomes grows. If kernels had joined, the coordinates are fitted to their text as well. No existing
file of the folder is changed or removed.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus_store import MANIFEST, load_prepared
from constellation.curricula.prepare import PreparedCorpus
from constellation.domains.record import Domain, unlearn
from constellation.errors import ArtifactError, ConfigError, IncompatibleKernels, TrainingError
from constellation.kernel.adapters.kernel_folder import open_kernel
from constellation.kernel.files.own_vocabulary import check_own_vocabulary, has_own_vocabulary
from constellation.releases.builder import domain_path, publish, save_domain
from constellation.releases.store import ReleaseStore
from constellation.wire.run_lock import owned
from constellation.wire.table_file import load_table
from constellation.wire.table_v010 import SITE_FILE, unlearned_sources
from training.domain_records import domain_records, fit_options
from training.file_errors import typed_writes
from training.kernel_files import names_in
from training.kernel_text import ADDED, CORPUS, of_domain
from training.provenance import RUN_FILE
from training.text_amount import check_calibration_text
from training.text_preparation import as_one_domain

TABLE: Final = "table.msgpack"
"""Name of the table file that version 0.1.0 served."""
SPAWNED_FILE: Final = "spawned_from"
"""Name of the file, in a spawned kernel's folder, that holds the name of its parent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Adopted:
    """The release made from an old folder, and its kernels."""

    release: int
    """Number of the new current release."""
    kernels: tuple[str, ...]
    """Kernels that the release serves, sorted by name."""
    without: tuple[str, ...]
    """Kernels of the old table that the release does not serve."""


def adopt(artifacts: Path, *, without: Collection[str] = ()) -> Adopted:
    """Make the first release of an artifacts folder of version 0.1.0.

    Kernels named in `without` are left out of the release; their files stay.

    Raises:
        ConfigError: The folder has releases already, a name is none of its kernels', or the folder
            keeps no text of a kernel; nothing was written.
        ArtifactError: The folder was not made by version 0.1.0, or a file is missing or damaged.
        IncompatibleKernels: A kernel was trained with another vocabulary; nothing was written.
        CorpusError: A kernel's text leaves nothing to calibrate on; nothing was written.
        TrainingError: Another process writes to the folder.
    """
    artifacts = artifacts.resolve()
    _check_place(artifacts)
    with typed_writes(artifacts), owned(artifacts, "`releases adopt`", TrainingError):
        return _FormerFolder(artifacts).adopt(without)


def _check_place(artifacts: Path) -> None:
    """Raise for a folder that version 0.1.0 did not make, before a lock is written to it."""
    if not artifacts.is_dir():
        raise ArtifactError(artifacts, "is no folder; name the artifacts by --artifacts")
    store = ReleaseStore(artifacts)
    if versions := store.versions():
        known = ", ".join(map(str, versions))
        raise ConfigError(
            f"{artifacts} has releases already ({known}): there is nothing to take over; to serve "
            f"one of them: constellation releases rollback V --artifacts {artifacts}"
        )
    for path in (artifacts / TABLE, artifacts / "coordizer", artifacts / "kernels"):
        if not path.exists():
            raise ArtifactError(
                path, "is not there, so no earlier version finished a training here; train first"
            )


class _FormerFolder:
    """The contents of an artifacts folder of version 0.1.0."""

    def __init__(self, artifacts: Path) -> None:
        self._artifacts = artifacts
        self._coordizer = Coordizer.load(artifacts / "coordizer")
        self._table = load_table(artifacts / TABLE)
        if self._table.coordizer_hash != self._coordizer.hash:
            raise ArtifactError(
                artifacts / TABLE,
                "was made with another coordizer than the one beside it; train again",
            )
        self._corpus, self._own = _corpus_of(artifacts)

    def adopt(self, without: Collection[str]) -> Adopted:
        names = self._names(without)
        self._check_kernels(names)
        unlearned_by = unlearned_sources(self._artifacts / TABLE)
        gauges = {
            site.name: site.phi_gauge for site in self._table.sites if site.phi_gauge is not None
        }
        domains = self._records(self._texts(names), unlearned_by, gauges)
        release = publish(
            self._artifacts,
            domains,
            self._coordizer,
            fit_options(self._coordizer, self._own),
            change=f"took over {len(names)} kernels of version 0.1.0",
        )
        self._keep_those_that_left()
        return Adopted(
            release=release.version, kernels=tuple(names), without=tuple(sorted(without))
        )

    def _names(self, without: Collection[str]) -> list[str]:
        served = sorted(site.name for site in self._table.sites)
        if unknown := sorted(set(without) - set(served)):
            raise ConfigError(
                f"the table has no kernel {unknown[0]!r} to leave out; it has: {', '.join(served)}"
            )
        names = [name for name in served if name not in without]
        if not names:
            raise ConfigError("no kernel would be left; leave fewer out")
        return names

    def _check_kernels(self, names: Iterable[str]) -> None:
        """Read every kernel, to find missing or damaged files before anything is written."""
        for name in names:
            folder = self._artifacts / "kernels" / name
            if has_own_vocabulary(folder):
                check_own_vocabulary(folder)
            elif open_kernel(folder).tokenizer_hash != self._coordizer.tokenizer_hash:
                raise IncompatibleKernels(name)

    def _texts(self, names: Iterable[str]) -> dict[str, PreparedCorpus]:
        """Return kernel -> its text; raise one error that names all kernels without text."""
        found = {name: self._text(name) for name in names}
        if missing := [name for name, text in found.items() if text is None]:
            flags = " ".join(f"--without {name}" for name in missing)
            raise ConfigError(
                f"{self._artifacts} keeps no text of its own for: "
                f"{', '.join(map(self._described, missing))}; a release is made of text; take the "
                f"others over: constellation releases adopt {flags} --artifacts {self._artifacts}; "
                "the files of those that are left out stay where they are"
            )
        return {name: text for name, text in found.items() if text is not None}

    def _text(self, name: str) -> PreparedCorpus | None:
        """Return a kernel's text; for a kernel of the run itself, its part of the corpus."""
        if self._corpus is not None and name in self._own:
            return of_domain(self._corpus, name)
        folder = self._artifacts / ADDED / name
        return load_prepared(folder) if (folder / MANIFEST).is_file() else None

    def _described(self, name: str) -> str:
        try:
            parent = (self._artifacts / "kernels" / name / SPAWNED_FILE).read_text("utf-8").strip()
        except (OSError, ValueError):
            return name
        return f"{name} (spawned from {parent})"

    def _records(
        self,
        texts: Mapping[str, PreparedCorpus],
        unlearned_by: Mapping[str, Iterable[str]],
        gauges: Mapping[str, float],
    ) -> list[Domain]:
        """Return records of texts, without the sources that were unlearned."""
        made = []
        for name, text in texts.items():
            check_calibration_text(text, self._coordizer)
            (domain,) = domain_records(text, self._coordizer, gauges)
            for source in unlearned_by.get(name, ()):
                if source in domain.sources:
                    domain = unlearn(domain, source)
            made.append(domain)
        return made

    def _keep_those_that_left(self) -> None:
        """Store records of removed kernels, so that what they unlearned stays unlearned."""
        served = {site.name for site in self._table.sites}
        for name in names_in(self._artifacts / "kernels"):
            site = self._artifacts / "kernels" / name / SITE_FILE
            if name in served or not site.is_file() or domain_path(self._artifacts, name).exists():
                continue
            if (text := self._text(name)) is not None:
                (domain,) = self._records({name: text}, unlearned_sources(site), {})
                save_domain(self._artifacts, domain)


def _corpus_of(artifacts: Path) -> tuple[PreparedCorpus | None, tuple[str, ...]]:
    """Return the text that the run was made from, and the kernels that it trained."""
    if not (artifacts / CORPUS / MANIFEST).is_file():
        return None, ()
    corpus = load_prepared(artifacts / CORPUS)
    try:
        recipe = json.loads((artifacts / RUN_FILE).read_text(encoding="utf-8"))["recipe"]
        alone = str(recipe["name"]) if recipe["mode"] == "synchronized" else ""
    except (OSError, ValueError, KeyError, TypeError):  # a run of the usual mode, as most are
        alone = ""
    corpus = as_one_domain(corpus, alone) if alone else corpus
    return corpus, corpus.domains
