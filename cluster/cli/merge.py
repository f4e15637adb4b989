"""`merge`: one kernel of several of one base, when held-out text says it is worth it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.cli import options, output_format, progress_lines

if TYPE_CHECKING:
    from training.transfer.merge import MergeReport


def merge(
    kernels: Annotated[
        list[Path], typer.Argument(help="Folders of two or more kernels or low-rank adapters.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write the merged kernel to.")],
    text: Annotated[
        Path, typer.Option(help="Held-out text, a file or folder, that decides whether it is fit.")
    ],
    coordizer: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the coordizer. (default: that of the first kernel's run)",
            show_default=False,
        ),
    ] = None,
    fisher: Annotated[
        bool,
        typer.Option("--fisher", help="Weigh parameters by Fisher information on training text."),
    ] = False,
    own_text: Annotated[
        list[Path] | None,
        typer.Option(
            help="Training text of a kernel, for --fisher; once per kernel, in their order. "
            "(default: the token files of its run)",
            show_default=False,
        ),
    ] = None,
    fisher_windows: Annotated[
        int, typer.Option(min=1, help="Windows of training text per kernel, for --fisher.")
    ] = 64,
    allow_worse: Annotated[
        float,
        typer.Option(
            min=0.0, help="Bits per byte by which the result may be worse than the best kernel."
        ),
    ] = 0.0,
    as_json: options.AsJson = False,
) -> None:
    """Average kernels of one base; write the result if held-out text is told no worse by it.

    Ends with exit code 1, and writes nothing, when the result is worse than the best kernel by
    more than what is allowed.

    Example: constellation merge run/kernels/a run/kernels/b --out merged --text held-out/
    """
    from constellation.coordizer.coordizer import Coordizer
    from training.transfer.merge import MergeOptions, merge_folders

    wanted = MergeOptions(
        fisher=fisher,
        own_text=tuple(own_text or ()),
        fisher_windows=fisher_windows,
        allow_worse_bits=allow_worse,
    )
    with progress_lines.step("merging and scoring"):
        report = merge_folders(
            kernels,
            out=out,
            coordizer=Coordizer.load(coordizer or kernels[0].resolve().parents[1] / "coordizer"),
            text=text,
            options=wanted,
        )
    if as_json:
        output_format.print_json(report)
    else:
        _print_report(report, out)
    if not report.written:
        raise typer.Exit(1)


def _print_report(report: "MergeReport", out: Path) -> None:
    console = output_format.stdout()
    shown = output_format.table("kernel", "bits per byte", numbers=("bits per byte",))
    for folder, bits in report.inputs.items():
        shown.add_row(folder, f"{bits:.4f}")
    shown.add_row("plain average", f"{report.plain:.4f}")
    if report.fisher is not None:
        shown.add_row("Fisher-weighted average", f"{report.fisher:.4f}")
    console.print(shown)
    console.print(f"\nheld out: {report.num_documents} documents, {report.num_bytes:,} bytes")
    if report.written:
        console.print(f"wrote the {report.method} average to {out}")
    else:
        console.print(
            f"not written: the {report.method} average is over {report.limit:.4f}, the best "
            "kernel and what --allow-worse adds",
            style="yellow",
        )
