"""Kernels that joined a run since it was trained: training again keeps them in the table.

A run that is trained again makes its own kernels anew. Those that were added or spawned stay as
they are, and what its own kernels had unlearned stays unlearned. That is only possible while the
coordizer stays: basins of another one mean nothing here, so a change is refused before it begins.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from constellation.curricula.prepare import PreparedCorpus
from constellation.curricula.split import SPLITS
from constellation.curricula.store import MANIFEST
from constellation.errors import ArtifactError, ConfigError, GrowthRefused
from constellation.records import KernelSite, Table
from constellation.routing.growth import KERNELS_MAX, add_kernel, unlearn_text
from constellation.routing.sites import KernelTexts
from constellation.wire.table_file import load_table
from training.kept_text import ADDED, CORPUS
from training.kernel_files import SPAWNED_FILE, has_kernel
from training.provenance import RUN_FILE
from training.recipe import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Regrown:
    """A table that was made anew, with what had become of the one before it."""

    table: Table
    learned_again: tuple[str, ...]
    """Sources of texts that were unlearned and count again, since taking them out fits no more."""


class FormerRun:
    """What lies in a run's folder before it is trained again.

    Args:
        out: The run's folder.
        own: Names of the kernels that the training before made; empty when that is not known.
    """

    def __init__(self, out: Path, own: Collection[str]) -> None:
        self._out = out
        self._own = frozenset(own)

    def table(self) -> Table | None:
        """Return the table as it is now; None when there is none that can be read."""
        try:
            return load_table(self._out / "table.msgpack")
        except ArtifactError:
            return None

    def joined(self, kernels: Collection[str] = ()) -> tuple[str, ...]:
        """Return the kernels of the table that were added or spawned, in the table's order.

        Args:
            kernels: Names of the run's own kernels from now on.
        """
        table = self.table()
        names = () if table is None else tuple(site.name for site in table.sites)
        return tuple(name for name in names if name not in kernels and self._has_joined(name))

    def check_recipe(self, recipe: Recipe) -> None:
        """Refuse a recipe whose coordizer would be another one, as `_refuse` says."""
        try:
            made_by = json.loads((self._out / RUN_FILE).read_text(encoding="utf-8"))["recipe"]
            before = Recipe.model_validate(made_by)
        except (OSError, ValueError, KeyError, TypeError):
            return  # nobody knows what it was made by; its corpus is still compared
        if before.key("coordizer", "seed") != recipe.key("coordizer", "seed"):
            self._refuse("[coordizer] or the seed of the recipe has changed")

    def check_corpus(self, corpus: PreparedCorpus) -> None:
        """Refuse a corpus from which another coordizer would come, as `_refuse` says."""
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
        """Refuse more kernels than a table holds, with those that joined.

        Raises:
            ConfigError: Names the numbers and the ways out.
        """
        num_joined = len(self.joined(kernels))
        if num_joined and len(kernels) + num_joined > KERNELS_MAX:
            raise ConfigError(
                f"the run has {len(kernels)} kernels of its own and {num_joined} that were added "
                f"or spawned; a table holds {KERNELS_MAX}; merge domains by corpus.merge, or "
                "remove some kernels"
            )

    def _has_joined(self, name: str) -> bool:
        folder = self._out / "kernels" / name
        if not has_kernel(folder):
            return False
        if self._own:
            return name not in self._own
        return (self._out / ADDED / name).is_dir() or (folder / SPAWNED_FILE).is_file()

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


def joined_sites(table: Table, own: Collection[str]) -> tuple[KernelSite, ...]:
    """Return the sites of a table that are not the run's own kernels'."""
    return tuple(site for site in table.sites if site.name not in own)


def own_part(table: Table, own: Collection[str]) -> Table:
    """Return the table of the run's own kernels alone: what its figures are measured with."""
    return replace(table, sites=tuple(site for site in table.sites if site.name in own))


def regrow(
    made: Table, texts: Iterable[KernelTexts], before: Table | None, joined: Collection[str]
) -> Regrown:
    """Return a new table with the kernels and the unlearned sources of the one before.

    Args:
        made: The run's own kernels, just fitted.
        texts: What their basins are made of.
        before: The table that it replaces; None, or one of another coordizer, adds nothing.
        joined: Names of its kernels that are kept.
    """
    if before is None or before.coordizer_hash != made.coordizer_hash:
        return Regrown(table=made, learned_again=())
    table, again = _unlearn(made, tuple(texts), before)
    for site in before.sites:
        if site.name in joined:
            # A spawned kernel's parent has all of its text again: nothing is given back any more.
            table = add_kernel(table, replace(before, sites=(replace(site, split=None),)))
    version = max(made.version, before.version + 1)
    return Regrown(table=replace(table, version=version), learned_again=again)


def _unlearn(
    table: Table, texts: Sequence[KernelTexts], before: Table
) -> tuple[Table, tuple[str, ...]]:
    """Return the table without what was unlearned, and what cannot be left out any more."""
    of = {each.name: each for each in texts}
    wanted = [(site.name, source) for site in before.sites for source in site.unlearned]
    again = []
    for name, source in wanted:
        if name not in of or source not in of[name].corpora:
            continue  # the kernel is not the run's own, or has not read the text this time
        try:
            table = unlearn_text(table, of[name], source)
        except GrowthRefused:
            again.append(f"{name}: {source}")
    return table, tuple(again)
