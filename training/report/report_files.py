"""Write a run's report: `report.md`, pictures in `plots/` beside it, and `samples.json`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from constellation.atomic_files import write_whole
from constellation.errors import ArtifactError
from training.file_errors import typed_writes
from training.report.facts import BETA, REPORT, RUN, VALIDATION, RunFacts, read_facts
from training.report.markdown import to_markdown
from training.report.plots import Plot, draw_plots
from training.report.samples import ensure_samples
from training.report.summary import summarise_run

REPORT_FILE = "report.md"


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenReport:
    """A report that was written to disk."""

    path: Path
    """The Markdown file; its pictures are in `plots/` beside it."""
    summary: dict[str, Any]
    """All of the report's content, as plain JSON values."""
    plots: tuple[Plot, ...]


def write_report(folder: Path, out: Path | None = None) -> WrittenReport:
    """Write the report of the run in `folder`, finished or not.

    Args:
        folder: Folder of the run.
        out: The Markdown file; `report.md` in the run's folder when left out.

    Raises:
        ArtifactError: There is no run, one of its files is damaged or of another version, or the
            report cannot be written.
    """
    facts = read_facts(folder)
    path = folder / REPORT_FILE if out is None else out
    with typed_writes(folder):
        samples = ensure_samples(folder)
    summary, plots = _make(facts, samples, path)
    summary["plots"] = [asdict(plot) for plot in plots]
    try:
        write_whole(path, to_markdown(summary, plots).encode())
    except OSError as error:
        raise ArtifactError(path, f"cannot be written: {error.strerror}") from error
    return WrittenReport(path=path, summary=summary, plots=tuple(plots))


def refresh_report(folder: Path) -> Path:
    """Write a run's report unless an existing one is newer than all of its sources.

    Returns:
        The Markdown.

    Raises:
        ArtifactError: See `write_report`.
    """
    path = folder / REPORT_FILE
    sources = [folder / name for name in (REPORT, RUN, VALIDATION, BETA)]
    newest_ns = max((file.stat().st_mtime_ns for file in sources if file.is_file()), default=0)
    if not path.is_file() or path.stat().st_mtime_ns < newest_ns:
        write_report(folder)
    return path


def _make(
    facts: RunFacts, samples: Mapping[str, Any] | None, path: Path
) -> tuple[dict[str, Any], list[Plot]]:
    try:
        return summarise_run(facts, samples), draw_plots(facts, path.parent)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ArtifactError(
            facts.folder,
            f"a file of this run is damaged or of another version ({type(error).__name__}: "
            f"{error}); train again with the same command, which makes anew what is not valid",
        ) from error
