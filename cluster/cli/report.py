"""The command `report`: writes the report of a training run as Markdown with pictures."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.cli import options, output_format


def report(
    run_folder: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_FOLDER",
            help="Artifacts folder of a training run, finished or still running, that "
            "`constellation train` writes.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Markdown file to write the report to; the folder plots/ with its pictures is "
            "written beside it. (default: RUN_FOLDER/report.md)",
        ),
    ] = None,
    as_json: Annotated[
        bool, options.json_flag("the report's path, conclusion and figures")
    ] = False,
) -> None:
    """Write a Markdown report of a training run: key results, samples, plots and a conclusion.

    Results have 95 % intervals. The report names what was not measured. For an unfinished run the
    report holds the results so far.

    Example: constellation report artifacts/starter
    """
    from training.report.report_files import write_report

    written = write_report(run_folder, out)
    if as_json:
        output_format.print_json({"out": written.path, **written.summary})
        return
    console = output_format.stdout()
    for sentence in written.summary["conclusion"]:
        console.print(f"- {sentence}", soft_wrap=True)
    console.print(f"\n{written.path}, {len(written.plots)} pictures in {written.path.parent}/plots")
