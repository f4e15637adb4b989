"""The command `merge`: averages kernels of one base and saves the result if it is good enough."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.cli import options, output_format, progress_lines

if TYPE_CHECKING:
    from training.transfer.merge import MergeReport


def merge(
    kernels: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of two or more kernels, or low-rank adapters, that were trained from "
            "the same base."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to save the merged kernel in.")],
    text: Annotated[
        Path,
        typer.Option(
            help="File or folder of held-out text on which the merged kernel is compared with "
            "the inputs, in bits per byte (lower is better)."
        ),
    ],
    coordizer: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the coordizer (tokenizer) that all kernels were trained with. "
            "(default: the coordizer of the first kernel's run)",
        ),
    ] = None,
    fisher: Annotated[
        bool,
        typer.Option(
            "--fisher",
            help="Average with weights: each parameter counts by its Fisher information on the "
            "kernel's own training text. (default: a plain average)",
        ),
    ] = False,
    own_text: Annotated[
        list[Path] | None,
        typer.Option(
            help="With --fisher: file or folder of a kernel's training text; give the option "
            "once per kernel, in the order of the kernels. (default: the token files of the "
            "kernel's run)",
        ),
    ] = None,
    fisher_windows: Annotated[
        int,
        typer.Option(
            min=1,
            help="With --fisher: number of windows of training text per kernel, each of the "
            "kernel's context length, that Fisher information is measured on; at least 1.",
        ),
    ] = 64,
    allow_worse: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Held-out bits per byte by which the merged kernel may be worse than the best "
            "input and still be saved; from 0.",
        ),
    ] = 0.0,
    as_json: Annotated[
        bool, options.json_flag("the held-out bits per byte of the inputs and averages")
    ] = False,
) -> None:
    """Average several kernels of one base; save the result only if held-out loss gets no worse.

    The loss is compared with that of the best input. When the merged kernel is worse by more than
    --allow-worse, nothing is written and the exit code is 1.

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
            f"not written: the {report.method} average is above the limit of {report.limit:.4f} "
            "bits per byte (the best kernel's plus --allow-worse)",
            style="yellow",
        )
