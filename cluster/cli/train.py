"""`train`: from a recipe to artifacts that `up` serves."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli import options, render

if TYPE_CHECKING:
    from rich.table import Table

    from training.pipeline import TrainingResult

MODELS = {
    "constellation": "routed",
    "oracle_label": "own kernel",
    "seed": "seed kernel",
    "unigram": "add-one unigram",
}
"""Models of the held-out report -> what they are called here, best first as hoped."""


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(train)


def train(
    recipe: Annotated[
        str, typer.Argument(help="Name of a recipe that comes with the project, or a TOML file.")
    ] = "starter",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write; an unfinished run there goes on. (default: artifacts/RECIPE)",
            show_default=False,
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Train the kernels of a recipe: corpus, coordizer, seed, branches, table, held-out figures.

    Ctrl-C writes checkpoints and stops; the same command goes on from there. What is finished and
    unchanged is not done again.

    Example: constellation train starter --out artifacts/starter
    """
    from cluster.training_run import train_recipe
    from training.progress import LiveTable
    from training.recipe import load_recipe

    wanted = load_recipe(recipe)
    folder = out or Path("artifacts") / wanted.name
    console = render.stderr()
    try:
        with LiveTable(console) as progress:
            result = train_recipe(wanted, folder, progress)
    except KeyboardInterrupt:
        console.print("stopped; checkpoints are written, the same command goes on from there")
        raise
    if as_json:
        render.print_json({"out": result.out, "seconds": result.seconds, "report": result.report})
    else:
        _print_result(result)


def _print_result(result: "TrainingResult") -> None:
    console = render.stdout()
    held_out = result.report["held_out"]
    console.print(figures(held_out))
    low, high = held_out["seed_minus_constellation_ci95"]
    console.print(
        f"\nheld out: {held_out['num_documents']} documents, {held_out['num_bytes']:,} bytes · "
        f"seed minus constellation {low:+.3f} to {high:+.3f} bits per byte (95 %) · "
        f"{held_out['routing_accuracy']:.1%} routed to their own kernel"
    )
    console.print(f"{len(result.kernels)} kernels in {result.out}, {result.seconds:.0f} s")
    console.print(f"serve them: constellation up --artifacts {result.out}")


def figures(held_out: dict[str, Any]) -> "Table":
    """Return a table of held-out bits per byte, one row per domain and one for all text."""
    shown = [name for name in MODELS if name in held_out["bits_per_byte"]]
    titles = [MODELS[name] for name in shown]
    made = render.table("bits per byte", *titles, "routed right", numbers=(*titles, "routed right"))
    rows = [*held_out["domains"].items(), ("all", held_out)]
    for name, values in rows:
        bits = [f"{values['bits_per_byte'][model]:.3f}" for model in shown]
        style = "bold" if name == "all" else None
        made.add_row(name, *bits, f"{values['routing_accuracy']:.1%}", style=style)
    return made
