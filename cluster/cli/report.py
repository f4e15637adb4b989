"""`report`: what a run shows, in words that follow from its numbers, with pictures."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.cli import options, output_format


def report(
    run_folder: Annotated[
        Path, typer.Argument(metavar="RUN_FOLDER", help="Folder that `train` wrote or writes.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Markdown file to write; plots/ appears beside it. (default: "
            "RUN_FOLDER/report.md)",
            show_default=False,
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Write the report of a training run: key results with intervals, samples, plots, conclusion.

    What was not measured is left out, and said. A run that is not finished is reported so far.

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
