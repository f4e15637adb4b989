"""The command `measure-beta`: how a kernel's attention coupling changes with context length."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli import kernel_folder, options, output_format, progress_lines
from cluster.cli.texts import read_documents
from constellation.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from constellation.kernel.observables.beta_result import BetaMeasurement

RESULT = "beta_measurement.json"


def measure_beta(
    kernel: kernel_folder.NamedKernel,
    text: kernel_folder.Text,
    contexts: Annotated[
        str | None,
        typer.Option(
            help="Context lengths to measure at, in tokens, separated by commas, such as "
            "64,128,256. (default: 512 to 8192, each twice the one before)",
        ),
    ] = None,
    documents: Annotated[
        int,
        typer.Option(
            min=3,
            max=10_000,
            help="Largest number of passages to measure on, 3 to 10000; no two come from the "
            "same document. More passages give narrower intervals.",
        ),
    ] = 8,
    artifacts: Annotated[
        Path | None,
        typer.Option(
            help="Artifacts folder of the training run; KERNEL is then the name of one of its "
            "kernels.",
        ),
    ] = None,
    coordizer: kernel_folder.CoordizerFolder = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            help="Seed, from 0, of the choice of passages, of the shuffled control and of the "
            "bootstrap intervals.",
        ),
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help=f"JSON file to write the result to. (default: {RESULT} in the folder of the "
            "kernel's run, where `report` reads it)",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="PNG file to draw coupling against context length into, with the fit.",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        options.json_flag(
            "the measurement, with the coupling at every length and the fitted beta,"
        ),
    ] = False,
) -> None:
    """Measure how a kernel's attention coupling (kappa) changes with context length (beta).

    Kappa, in nats of attention information, is measured on text at several context lengths; beta
    is its relative slope against the logarithm of the length, with 95 % intervals. Lengths beyond
    the trained context are marked: there the kernel extrapolates. Where kappa does not differ
    significantly from 0, beta is undefined and only the raw slope is given.

    Example: constellation measure-beta run/kernels/python --text held-out/ --contexts 64,128,256
    """
    kernel = kernel_folder.named(kernel, artifacts)
    loaded = kernel_folder.load(kernel, coordizer)
    path = out or (loaded.run or Path.cwd()) / RESULT
    wanted = None if contexts is None else _lengths(contexts)
    measured = _measure(loaded, text, wanted, documents, seed)
    facts = {
        "kernel": str(kernel),
        "weights_sha256": loaded.kernel.weights_hash,
        **measured.to_dict(),
    }
    _write(path, facts)
    if plot is not None:
        _draw(plot, facts)
    if as_json:
        output_format.print_json({"out": path, **facts})
    else:
        _print_result(measured, path)


def _lengths(contexts: str) -> list[int]:
    try:
        return [int(part) for part in contexts.split(",")]
    except ValueError as error:
        raise ConfigError(
            f"--contexts is {contexts!r}; give whole numbers with commas, such as 64,128,256"
        ) from error


def _measure(
    loaded: kernel_folder.KernelFolder,
    text: Path,
    wanted: list[int] | None,
    documents: int,
    seed: int,
) -> "BetaMeasurement":
    from constellation.kernel.observables import beta
    from constellation.kernel.observables.passages import passages

    decoder, coordizer = loaded.kernel.decoder, loaded.coordizer
    lengths = beta.measurable_lengths(decoder.config, wanted)
    tokens = coordizer.encode_batch([document.text for document in read_documents(text).documents])
    found_NT = passages(
        tokens, length=lengths[-1], num_passages=documents, end_id=coordizer.end_id, seed=seed
    )
    with progress_lines.step("measuring") as say:
        return beta.measure_beta(
            decoder,
            found_NT,
            lengths,
            seed=seed,
            on_passage=lambda done: say(f"measured {done} of {len(found_NT)} passages"),
        )


def _write(path: Path, facts: dict[str, Any]) -> None:
    from training.json_files import write_json

    try:
        write_json(path, facts)
    except OSError as error:
        raise ArtifactError(path, f"cannot be written: {error.strerror}") from error


def _draw(path: Path, facts: dict[str, Any]) -> None:
    from training.report.figure_style import save
    from training.report.share_plots import beta_plot

    save(beta_plot(facts), path)


def _print_result(measured: "BetaMeasurement", path: Path) -> None:
    from constellation.kernel.observables.beta_result import in_words

    console = output_format.stdout()
    numbers = ("length", "kappa (nats)", "shuffled")
    made = output_format.table("length", "kappa (nats)", "95 %", "shuffled", "", numbers=numbers)
    for length, kappa, (low, high), shuffled, beyond in zip(
        measured.context_lengths,
        measured.kappa_measured,
        measured.kappa_ci95,
        measured.kappa_shuffled,
        measured.extrapolated,
        strict=True,
    ):
        remark = "extrapolated" if beyond else ""
        made.add_row(
            str(length), f"{kappa:.4f}", f"{low:.4f} to {high:.4f}", f"{shuffled:.4f}", remark
        )
    console.print(made)
    console.print(f"\n{in_words(measured)}", soft_wrap=True)
    for other in measured.other_references:
        console.print(f"  seen from {other.reference_length} tokens: {_beta(other)}")
    console.print(f"  of shuffled tokens: {_beta(measured.fit_shuffled)}")
    if measured.fit_trained is not None:
        console.print(f"  within the trained context: {_beta(measured.fit_trained)}")
    console.print(f"{measured.num_passages} passages; {path}")


def _beta(fit: Any) -> str:
    if fit.value is None:
        return f"beta undefined, raw slope {fit.slope.value:+.4f}"
    return f"beta {fit.value:+.3f} ({fit.ci95[0]:+.3f} to {fit.ci95[1]:+.3f})"
