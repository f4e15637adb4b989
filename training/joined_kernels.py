"""Keep kernels that were added to a run after its training when the run is trained again.

A run that is trained again replaces its own kernels. Kernels that were added or spawned stay, with
their text, and unlearned sources stay unlearned. That is only possible with the same vocabulary:
text stored as tokens of another one cannot be read, so a change of vocabulary is refused before
training.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus_store import MANIFEST
from constellation.curricula.prepare import PreparedCorpus
from constellation.curricula.split import SPLITS
from constellation.domains.fit import Fitted
from constellation.domains.membership import KERNELS_MAX
from constellation.domains.record import Domain, unlearn
from constellation.errors import ArtifactError, ConfigError, GrowthRefused
from constellation.releases.builder import domain_of, publish
from constellation.releases.manifest import Release
from constellation.releases.store import ReleaseStore
from constellation.wire.table_v010 import SITE_FILE, unlearned_sources
from training.domain_records import fit_options
from training.kernel_files import names_in
from training.kernel_text import ADDED, CORPUS
from training.migration import SPAWNED_FILE, TABLE
from training.progress.events import Notice, OnEvent
from training.provenance import RUN_FILE
from training.recipe import Recipe


class FormerRun:
    """What a run's folder served before the run is trained again.

    Attributes:
        own: Names of the kernels that the previous training made; empty when they are unknown.
    """

    def __init__(self, out: Path, own: Collection[str]) -> None:
        self.own = frozenset(own)
        self._out = out
        self._store = ReleaseStore(out)

    def release(self) -> Release | None:
        """Return the current release; None without a release.

        Raises:
            ArtifactError: The release is damaged, so that the joined kernels are unknown.
        """
        return None if self._store.current() is None else self._store.read_current()

    def joined(self, kernels: Collection[str] = ()) -> tuple[str, ...]:
        """Return the kernels of the release that were added or spawned, in the order of names.

        Args:
            kernels: Names of the run's own kernels from now on.
        """
        release = self.release()
        names = () if release is None else tuple(kernel.name for kernel in release.kernels)
        return tuple(name for name in names if name not in kernels and name not in self.own)

    def check_adopted(self) -> None:
        """Raise for a folder of version 0.1.0 without releases to which kernels were added.

        Raises:
            ConfigError: A training would lose these kernels, or learn unlearned text again; the
                error names the command that adopts the folder.
            ArtifactError: The current release is damaged, or the table of a folder to which kernels
                may have been added.
        """
        table = self._out / TABLE
        if self.release() is not None or not table.is_file():
            return
        unlearned_by = self._kernels_of_table(table)
        joined = [name for name in unlearned_by if name not in self.own and self._has_joined(name)]
        forgot = [name for name, sources in unlearned_by.items() if sources and name not in joined]
        lost = [f"what was unlearned of {name}" for name in forgot]
        if joined:
            lost.insert(0, f"the kernels that were added or spawned ({', '.join(joined)})")
        if lost:
            raise ConfigError(
                f"{self._out} was made by version 0.1.0 and has no release, so a training would "
                f"lose {' and '.join(lost)}; take the folder over first: "
                f"constellation releases adopt --artifacts {self._out}"
            )

    def _kernels_of_table(self, table: Path) -> dict[str, tuple[str, ...]]:
        """Return the kernels of a table with the sources that each has unlearned.

        A table that is damaged is made again where only a training has written to the folder.
        """
        try:
            return unlearned_sources(table)
        except ArtifactError:
            others = set(names_in(self._out / "kernels")) - self.own
            if any(map(self._has_joined, others)):
                raise
            return {}

    def _has_joined(self, name: str) -> bool:
        folder = self._out / "kernels" / name
        marks = (self._out / ADDED / name, folder / SITE_FILE, folder / SPAWNED_FILE)
        return any(mark.exists() for mark in marks)

    def check_recipe(self, recipe: Recipe) -> None:
        """Raise, by `_refuse`, for a recipe that would make another coordizer."""
        try:
            made_by = json.loads((self._out / RUN_FILE).read_text(encoding="utf-8"))["recipe"]
            before = Recipe.model_validate(made_by)
        except (OSError, ValueError, KeyError, TypeError):
            return  # nobody knows what it was made by; its corpus is still compared
        if before.key("coordizer", "seed") != recipe.key("coordizer", "seed"):
            self._refuse("[coordizer] or the seed of the recipe has changed")

    def check_corpus(self, corpus: PreparedCorpus) -> None:
        """Raise, by `_refuse`, for a corpus from which another coordizer would be made."""
        try:
            manifest = json.loads((self._out / CORPUS / MANIFEST).read_text(encoding="utf-8"))
            before = [manifest["splits"][part]["sha256"] for part in SPLITS]
        except (OSError, ValueError, KeyError, TypeError):
            return
        splits = corpus.manifest["splits"]
        assert isinstance(splits, dict)
        if before != [splits[part]["sha256"] for part in SPLITS]:
            self._refuse("the text of the run has changed")

    def check_room(self, kernels: Collection[str]) -> None:
        """Raise when the run's kernels and the joined ones are more than a table holds.

        Raises:
            ConfigError: There are too many; the error names the numbers and the ways out.
        """
        num_joined = len(self.joined(kernels))
        if num_joined and len(kernels) + num_joined > KERNELS_MAX:
            raise ConfigError(
                f"the run has {len(kernels)} kernels of its own and {num_joined} that were added "
                f"or spawned; a table holds {KERNELS_MAX}; merge domains by corpus.merge, or "
                "remove some kernels"
            )

    def _without_unlearned(self, domains: Iterable[Domain]) -> tuple[list[Domain], list[str]]:
        """Return the records of a run's own text without the sources that were unlearned.

        The second value names sources that were unlearned and now count again, because removing
        them no longer fits.
        """
        release = self.release()
        served = set() if release is None else {kernel.name for kernel in release.kernels}
        kept, again = [], []
        for domain in domains:
            if release is not None and domain.name in served:
                before = domain_of(self._store, release, domain.name)
                for source in before.unlearned:
                    if source not in domain.sources:
                        continue  # the kernel has not read the text this time
                    try:
                        domain = unlearn(domain, source)  # noqa: PLW2901
                    except GrowthRefused:
                        again.append(f"{domain.name}: {source}")
            kept.append(domain)
        return kept, again

    def publish(
        self,
        own: Sequence[Domain],
        coordizer: Coordizer,
        *,
        basins_max: int,
        fitted: Fitted | None,
        on_event: OnEvent,
    ) -> Release:
        """Make the run's kernels the current release, with kernels that joined since its training.

        Args:
            own: Records of the text of the run's own kernels, as it was read.
            coordizer: Coordizer of the training.
            basins_max: See `FitOptions.basins_max`.
            fitted: What `fit` gives for `own`, where that is known.
            on_event: Called with notices: which kernels are still served, which text counts again.

        Raises:
            ArtifactError: A kernel or the release before is damaged, or the store cannot be
                written.
        """
        names = [domain.name for domain in own]
        joined = self.joined(names)
        kept, again = self._without_unlearned(own)
        as_read = all(not domain.unlearned for domain in kept)
        release = publish(
            self._out,
            kept,
            coordizer,
            fit_options(coordizer, names, basins_max=basins_max),
            change=f"trained {len(names)} kernels",
            replaced=self.own,
            fitted=fitted if as_read else None,
        )
        if joined:
            on_event(Notice(text=f"still served, as they were: {', '.join(joined)}"))
        if again:
            text = f"counts again, cannot be unlearned any more: {', '.join(again)}"
            on_event(Notice(text=text))
        return release

    def _refuse(self, change: str) -> None:
        """Raise ConfigError if a kernel has joined; it names the kernels and the ways out."""
        names = self.joined()
        if names:
            raise ConfigError(
                f"{change}, so the run would get another coordizer, and the kernels that were "
                f"added or spawned would not fit any more: {', '.join(names)}; train into another "
                f"folder by --out, or remove them first: constellation remove {names[0]} "
                f"--artifacts {self._out}"
            )
