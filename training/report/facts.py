"""Read all files of a run's folder that a report needs; absent files are None."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from constellation.errors import ArtifactError
from training.current_release import served_table
from training.report.history import METRICS, History, read_history

REPORT = "report.json"
STATUS = "status.json"
RUN = "run.json"
VALIDATION = "validation_report.json"
BETA = "beta_measurement.json"
LEDGER = "ledger.json"
BUDGET = "budget.json"

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFacts:
    """Contents of the files of one run; None for an absent file."""

    folder: Path
    report: Json | None
    """Held-out figures and observables of a finished run."""
    history: History | None
    """Curves and changes from the run's log."""
    status: Json | None
    """State of every kernel."""
    run: Json | None
    """Recipe, versions and hashes that the run was made from."""
    usage: Json | None
    """Seconds and tokens used, over all resumed runs."""
    ledger: Json | None
    """Finished parts with the sha256 of their files."""
    validation: Json | None
    """Results of `constellation validate`."""
    beta: Json | None
    """Measured change of the coupling with context length."""

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the kernels, without the seed; sorted."""
        if self.report is not None:
            return tuple(sorted(self.report.get("kernels", {})))
        known = set((self.status or {}).get("kernels", {}))
        known |= set() if self.history is None else set(self.history.curves)
        return tuple(sorted(known - {"seed"}))

    @property
    def name(self) -> str:
        """Name of the recipe; the folder's name where no recipe is known."""
        recipe = self.recipe
        return str(recipe.get("name", self.folder.name))

    @property
    def recipe(self) -> Json:
        """Return the recipe, as completely as the files hold it."""
        for source in (self.report, self.run):
            recipe = (source or {}).get("recipe")
            if isinstance(recipe, Mapping):
                return recipe
        return {}

    @property
    def held_out(self) -> Json:
        """Return the held-out figures; empty when there are none."""
        found: Json = (self.report or {}).get("held_out") or {}
        return {} if found.get("num_documents") == 0 else found

    @property
    def unscored(self) -> tuple[str, ...]:
        """Domains without figures, since their held-out documents are too short."""
        return tuple(((self.report or {}).get("held_out") or {}).get("unscored", ()))

    @property
    def joined_since(self) -> tuple[str, ...]:
        """Kernels that are served now but have no figures in the report.

        Raises:
            ArtifactError: The table is damaged.
        """
        table = served_table(self.folder)
        if self.report is None or table is None:
            return ()
        own = self.report.get("kernels", {})
        return tuple(site.name for site in table.sites if site.name not in own)

    @property
    def observables(self) -> Json:
        """Return Phi and kappa of kernels and seed; empty when not measured."""
        found: Json = ((self.report or {}).get("table") or {}).get("observables") or {}
        return found


def read_facts(folder: Path) -> RunFacts:
    """Read a run's folder.

    Raises:
        ArtifactError: The folder holds no run, or one of its files is damaged.
    """
    if not folder.is_dir():
        raise ArtifactError(folder, "is no folder; give the one that `constellation train` wrote")
    facts = RunFacts(
        folder=folder,
        report=read_json(folder / REPORT),
        history=read_history(folder),
        status=read_json(folder / STATUS),
        run=read_json(folder / RUN),
        usage=read_json(folder / BUDGET),
        ledger=read_json(folder / LEDGER),
        validation=read_json(folder / VALIDATION),
        beta=read_json(folder / BETA),
    )
    if facts.report is None and facts.history is None:
        raise ArtifactError(folder, f"holds no run: neither {REPORT} nor {METRICS} is there")
    return facts


def read_json(path: Path) -> Json | None:
    """Return the JSON object in a file; None when the file does not exist.

    Raises:
        ArtifactError: The file is unreadable or no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArtifactError(path, f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ArtifactError(path, f"is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ArtifactError(path, f"holds a {type(value).__name__}, not a JSON object")
    return value
