"""The command `validate`: pass-or-fail checks of an architecture, a kernel, a run or its gates."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.cli import kernel_folder, options, output_format
from cluster.cli.texts import read_documents
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
            help="What to check: the name of an architecture preset, the folder of a kernel, or "
            "the artifacts folder of a training run; or the word gates, followed by such a "
            "folder.",
        ),
    ],
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN_FOLDER]",
            help="Artifacts folder of the run whose validation gates are judged; only after the "
            "word gates.",
        ),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(
            help="File or folder of held-out text on which a kernel's folder is checked; a run's "
            "folder has its own.",
        ),
    ] = None,
    coordizer: kernel_folder.CoordizerFolder = None,
    as_json: Annotated[
        bool, options.json_flag("the verdict, measured value and limit of every check")
    ] = False,
) -> None:
    """Run pass-or-fail checks on an architecture, a trained kernel or a training run.

    Ends with exit code 1 when a check fails. Six checks of an architecture: causality, shapes and
    parameter count, gradient flow, recursion depth, attention couplings, basin head. Six of a
    trained kernel: files and hash, vocabulary, finite weights, better than unigrams, calibration,
    writing. For a run, the results are also written to validation_report.json in its folder.

    Example: constellation validate artifacts/starter
    """
    if (target == GATES) != (run is not None):
        raise ConfigError(
            "a run's folder follows the word gates, and nothing else: validate gates RUN"
        )
    report = _validate(target, run, text, coordizer)
    if as_json:
        output_format.print_json(report.to_dict())
    else:
        _print_report(report)
    if not report.passed:
        raise typer.Exit(1)


def _validate(
    target: str, gates_of: Path | None, text: Path | None, coordizer: Path | None
) -> "ValidationReport":
    from constellation.coordizer.coordizer import Coordizer
    from training.validation import run

    if gates_of is not None:
        return run.validate_gates(gates_of)
    folder = Path(target)
    if (folder / "kernels").is_dir():
        report = run.validate_run(folder)
        report.save(folder)
        return report
    if not folder.is_dir():
        return run.validate_preset(target)
    texts = [document.text for document in read_documents(text).documents] if text else []
    home = kernel_folder.run_of(folder)
    coordizer = coordizer or (None if home is None else home / "coordizer")
    if texts and coordizer is None:
        raise ConfigError(f"{folder} is not inside a run with a coordizer; give --coordizer")
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
    summary_line = f"{applied - len(failed)} of {applied} checks passed"
    console.print(summary_line + (f"; failed: {', '.join(failed)}" if failed else ""))


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
