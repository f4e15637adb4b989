"""The commands `basin extract|match`: measure a kernel's signature; compare two signatures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli import kernel_folder, options, output_format, progress_lines
from cluster.cli.command_groups import FlagGroup
from cluster.cli.texts import read_documents

if TYPE_CHECKING:
    from constellation.kernel.observables.measurement import Measurement
    from constellation.kernel.observables.signature import Signature

app = typer.Typer(
    cls=FlagGroup,
    no_args_is_help=True,
    help="Measure and compare kernels by their signatures: small files with a kernel's "
    "basin and statistics.",
)
"""Typer application of this group of commands."""


@app.command("extract")
def extract(
    kernel: kernel_folder.Kernel,
    out: Annotated[
        Path, typer.Argument(help="File to write the signature to; its size is 2 to 4 KB.")
    ],
    text: kernel_folder.Text,
    texts: Annotated[
        int,
        typer.Option(
            min=1,
            max=100_000,
            help="Largest number of texts to measure on, 1 to 100000, spread evenly over the "
            "given text.",
        ),
    ] = 64,
    coordizer: kernel_folder.CoordizerFolder = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0, help="Seed, from 0, of the shuffled controls and the bootstrap intervals."
        ),
    ] = 0,
    as_json: Annotated[
        bool, options.json_flag("the signature and the file it was written to")
    ] = False,
) -> None:
    """Measure a kernel on text and write its signature, a small file for `basin match`.

    The signature holds the kernel's mean basin (point on the probability simplex), its spread and
    bearing (direction), attention couplings (kappa, beta) and Phi (integration of the hidden
    states). The basins come from the kernel's basin head; for a kernel without one they are those
    of the texts themselves, and the signature is marked so. Compare kernels on the same texts.

    Example: constellation basin extract run/kernels/python python.basin --text held-out/
    """
    from constellation.kernel.observables.probe_set import ProbeSet
    from constellation.kernel.observables.signature import save_signature
    from constellation.kernel.observables.signature_extract import extract_signature

    loaded = kernel_folder.load(kernel, coordizer)
    probe = ProbeSet.of(
        [document.text for document in read_documents(text).documents],
        loaded.coordizer,
        context=loaded.kernel.config.context,
        num_texts=texts,
    )
    with progress_lines.step(f"reading {len(probe.texts)} texts"):
        taken = extract_signature(
            loaded.kernel.decoder,
            loaded.coordizer,
            probe,
            kernel_hash=loaded.kernel.weights_hash,
            seed=seed,
        )
    save_signature(out, taken)
    if as_json:
        output_format.print_json({"out": out, **_facts(taken)})
        return
    made = output_format.table("what", "value")
    for name, value in _rows(taken):
        made.add_row(name, value)
    output_format.stdout().print(made)
    output_format.stdout().print(f"{out}, {out.stat().st_size} bytes")


@app.command("match")
def match(
    first: Annotated[
        Path,
        typer.Argument(
            metavar="A", help="File of the first signature, as `basin extract` wrote it."
        ),
    ],
    second: Annotated[
        Path,
        typer.Argument(
            metavar="B", help="File of the second signature; differences are printed as B - A."
        ),
    ],
    as_json: Annotated[
        bool,
        options.json_flag(
            "the distance of the two kernels' basins, and the differences of kappa, beta and Phi"
        ),
    ] = False,
) -> None:
    """Compare two kernels by their signatures: how far apart they lie and how they differ.

    Prints the distance of the basins in radians and the differences B - A of kappa (attention
    coupling), beta (its change with context length) and Phi (integration).

    Example: constellation basin match python.basin english.basin
    """
    from constellation.kernel.observables.signature import load_signature
    from constellation.kernel.observables.signature_match import match_signatures

    found = match_signatures(load_signature(first), load_signature(second))
    if as_json:
        output_format.print_json(found.to_dict())
        return
    made = output_format.table("what", "B - A", numbers=("B - A",))
    angle = found.bearing_angle
    made.add_row("bearing angle", "-" if angle is None else f"{angle:.4f} rad")
    for name, difference, unit in (
        ("kappa, learned", found.kappa_difference, ""),
        ("beta, learned", found.beta_difference, ""),
        ("kappa, measured", found.kappa_measured_difference, "nats"),
        ("Phi", found.phi_difference, ""),
    ):
        made.add_row(name, "-" if difference is None else f"{difference:+.4f} {unit}".strip())
    console = output_format.stdout()
    console.print(made)
    console.print(f"\n{found.words}", soft_wrap=True)
    for note in found.notes:
        console.print(f"note: {note}", style="yellow")


def _facts(taken: "Signature") -> dict[str, Any]:
    def heads(values: Any) -> Any:
        return None if values is None else values.tolist()

    return {
        "hash": taken.hash,
        "kernel": taken.kernel_hash,
        "coordizer": taken.coordizer_hash,
        "probe_id": taken.probe_id,
        "num_texts": taken.num_texts,
        "basin_source": taken.basin_source,
        "basin": taken.basin_K.tolist(),
        "spread": taken.spread,
        "kappa": heads(taken.kappa_NH),
        "beta": heads(taken.beta_NH),
        "kappa_measured": taken.kappa_measured.to_dict(),
        "phi": taken.phi.to_dict(),
    }


def _rows(taken: "Signature") -> list[tuple[str, str]]:
    def mean(values: Any) -> str:
        return "none" if values is None else f"{values.mean():.4f}, mean of {values.size} heads"

    return [
        ("basin", f"{output_format.outcomes(taken.basin_K.tolist())} ({taken.basin_source})"),
        ("spread", f"{taken.spread:.4f} rad over {taken.num_texts} texts"),
        ("kappa, learned", mean(taken.kappa_NH)),
        ("beta, learned", mean(taken.beta_NH)),
        ("kappa, measured", _measured(taken.kappa_measured)),
        ("Phi", _measured(taken.phi)),
        ("probe texts", taken.probe_id[:16]),
        ("hash", taken.hash),
    ]


def _measured(found: "Measurement") -> str:
    if found.value is None:
        return f"not measured: {found.method}"
    interval = ""
    if found.interval is not None:
        interval = f" ({found.interval[0]:.4f} to {found.interval[1]:.4f}, 95 %)"
    null = "" if found.null is None else f", null {found.null:.4f}"
    return f"{found.value:.4f}{interval}{null}, n = {found.n}"
