"""`validate`: pass-or-fail checks of an architecture, a trained kernel, a run, and its gates."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.cli import kernel_folder, options, output_format
from cluster.cli.texts import read_told
from constellation.errors import ConfigError

if TYPE_CHECKING:
    from training.validation.check import ValidationReport

GATES = "gates"
_STYLES = {"passed": "green", "FAILED": "bold red", "not applicable": "dim"}


def validate(
    target: Annotated[
        str,
        typer.Argument(
            metavar="PRESET|KERNEL_FOLDER|RUN_FOLDER|gates",
            help="What to check; after the word gates: the run whose gates are judged.",
        ),
    ],
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN_FOLDER]", help="Only after the word gates.")
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(
            help="Held-out text, file or folder, for a kernel's folder. (a run has its own)",
            show_default=False,
        ),
    ] = None,
    coordizer: kernel_folder.CoordizerFolder = None,
    as_json: options.AsJson = False,
) -> None:
    """Check an architecture, a trained kernel or a run; exit code 1 when a check fails.

    Six checks of the architecture: causality, shapes and parameter count, gradient flow, recursion
    depth, attention couplings, basin head. Of a trained kernel: files and hash, vocabulary, finite
    weights, better than unigrams, calibration, writing. A run's folder gets
    validation_report.json.

    Example: constellation validate artifacts/starter
    """
    if (target == GATES) != (run is not None):
        raise ConfigError(
            "a run's folder follows the word gates, and nothing else: validate gates RUN"
        )
    report = _gates(run) if run is not None else _validate(target, text, coordizer)
    if as_json:
        output_format.print_json(report.to_dict())
    else:
        _print_report(report)
    if not report.passed:
        raise typer.Exit(1)


def _gates(run: Path) -> "ValidationReport":
    from training.validation.run import validate_gates

    return validate_gates(run)


def _validate(target: str, text: Path | None, coordizer: Path | None) -> "ValidationReport":
    from constellation.coordizer.coordizer import Coordizer
    from training.validation import run

    folder = Path(target)
    if (folder / "kernels").is_dir():
        report = run.validate_run(folder)
        report.save(folder)
        return report
    if not folder.is_dir():
        return run.validate_preset(target)
    texts = [document.text for document in read_told(text).documents] if text else []
    home = kernel_folder.run_of(folder)
    coordizer = coordizer or (None if home is None else home / "coordizer")
    if texts and coordizer is None:
        raise ConfigError(f"{folder} lies in no run with a coordizer; give --coordizer")
    loaded = None if coordizer is None else Coordizer.load(coordizer)
    return run.validate_kernel(folder, coordizer=loaded, texts=texts)


def _print_report(report: "ValidationReport") -> None:
    from rich.text import Text

    console = output_format.stdout()
    for group, checks in report.groups.items():
        shown = output_format.table("check", "verdict", "measured", "limit", "detail", title=group)
        shown.columns[4].no_wrap = False
        for check in checks:
            shown.add_row(
                check.name,
                Text(check.verdict, style=_STYLES[check.verdict]),
                _number(check.value),
                _number(check.limit),
                check.detail,
            )
        console.print(shown)
        console.print()
    failed = [
        f"{group}: {check.name}"
        for group, checks in report.groups.items()
        for check in checks
        if check.passed is False
    ]
    applied = sum(check.passed is not None for check in report.checks)
    told = f"{applied - len(failed)} of {applied} checks passed"
    console.print(told + (f"; failed: {', '.join(failed)}" if failed else ""))


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
