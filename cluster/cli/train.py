"""The command `train`: trains the kernels of a recipe into an artifacts folder that `up` serves."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli import options, output_format, progress_lines
from cluster.cli.connection import configuration, connect

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from training.pair_run import PairsResult
    from training.pipeline import TrainingResult

MODELS = {
    "constellation": "routed",
    "oracle_label": "own kernel",
    "seed": "seed kernel",
    "unigram": "unigram",
}
"""Models of the held-out report -> their column titles; the model expected to be best is first."""


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="What to train and how: the name of a recipe that comes with the project, such "
            "as starter, or the path of a TOML file."
        ),
    ] = "starter",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Artifacts folder to write kernels, checkpoints and reports to; an unfinished "
            "run there is resumed. (default: artifacts/RECIPE)",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Replace one value of the recipe, such as seed_stage.steps=200; may be repeated "
            "for several values.",
        ),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            help="How kernels are trained: branch-train trains a shared seed, then one kernel "
            "per domain from it; synchronized trains one kernel on all domains; per-actor "
            "one kernel per domain, each in a Ray Train run of its own. (default: the "
            "recipe's mode)",
        ),
    ] = None,
    basin_target: Annotated[
        Path | None,
        typer.Option(
            help="File of a basin signature, as `basin extract` writes it: training pulls every "
            "kernel's basin (its point on the probability simplex) towards the signature's, "
            "with the strength of the recipe's objective.lambda_basin.",
        ),
    ] = None,
    address: options.TrainingAddress = None,
    as_json: Annotated[
        bool, options.json_flag("the output folder, the seconds taken and the held-out report")
    ] = False,
) -> None:
    """Train the kernels of a recipe on its text and write an artifacts folder that `up` serves.

    Reads the corpus, trains the tokenizer (coordizer) and the kernels, usually one per domain, fits
    the routing table, makes a release and measures held-out text. Ctrl-C writes checkpoints and
    stops; the same command resumes from them and repeats no finished and unchanged step. A
    constellation that runs from the folder loads the new weights when they are ready, without
    dropping a request. When a budget of the recipe is used up, training stops as after Ctrl-C, with
    exit code 1; the same command resumes once the recipe allows more. With --address the nodes of a
    Ray cluster train; they need no shared disk, and a lost node costs the steps since its last
    checkpoint.

    Example: constellation train starter --out artifacts/starter
    """
    from cluster.training_run import train_pairs_recipe, train_recipe
    from constellation.errors import ConfigError
    from training.progress.live_table import LiveTable
    from training.recipe_file import load_recipe

    flags = {"mode": mode, "objective.basin_target": basin_target}
    chosen = [f"{key}={value}" for key, value in flags.items() if value is not None]
    wanted = load_recipe(recipe, [*(changes or ()), *chosen])
    folder = out or Path("artifacts") / wanted.name
    console = output_format.stderr()
    try:
        with LiveTable(console) as progress:
            progress_lines.doing(progress.in_words)
            if wanted.pairs is not None:
                if address is not None:
                    raise ConfigError(
                        f"recipe {wanted.name!r} has [pairs], whose kernel trains in this process; "
                        "leave out --address"
                    )
                learned = train_pairs_recipe(wanted, folder, progress)
                _print_pairs(learned, as_json=as_json)
                return
            result = train_recipe(wanted, folder, progress, address=address)
    except KeyboardInterrupt:
        console.print("stopped; checkpoints are written, the same command resumes from them")
        raise
    served = renew_served(folder, console)
    if as_json:
        output_format.print_json(
            {"out": result.out, "seconds": result.seconds, "report": result.report}
        )
    else:
        _print_result(result)
        if not served:
            output_format.stdout().print(f"serve them: constellation up --artifacts {result.out}")


def renew_served(artifacts: Path, console: "Console") -> bool:
    """Reload a constellation that runs from `artifacts`; return whether there is one."""
    from cluster.state_file import running
    from constellation.errors import ReloadRefused

    settings = configuration()
    state = running(settings.run_dir)
    if state is None or Path(state.artifacts).resolve() != artifacts.resolve():
        return False
    with connect(settings, state.endpoint) as client:
        try:
            names = client.reload().reloaded
        except ReloadRefused as error:
            console.print(f"the constellation at {state.endpoint} is unchanged: {error}")
        else:
            console.print(f"{state.endpoint} serves new weights of: {', '.join(names) or 'none'}")
    return True


def _print_pairs(result: "PairsResult", *, as_json: bool) -> None:
    if as_json:
        facts = {"out": result.out, "seconds": result.seconds, "report": result.report}
        output_format.print_json(facts)
        return
    report, folder = result.report, result.out / "kernels" / result.kernel
    console = output_format.stdout()
    console.print(
        f"{report['num_exact']} of {report['num_questions']} held-out prompts are answered exactly "
        f"after {report['steps']} steps, {result.seconds:.0f} s"
    )
    console.print(
        f"let it join: constellation add {result.kernel} {folder} --text {result.out / 'text'}"
    )


def _print_result(result: "TrainingResult") -> None:
    console = output_format.stdout()
    held_out = result.report["held_out"]
    console.print(figures(held_out))
    if held_out["num_documents"]:
        console.print(_summary(held_out))
        console.print(arrivals(held_out))
    console.print(f"{len(result.kernels)} kernels in {result.out}, {result.seconds:.0f} s")
    console.print(f"report: {result.out / 'report.md'}")


def _summary(held_out: dict[str, Any]) -> str:
    interval = held_out["seed_minus_constellation_ci95"]
    gain = (
        ""
        if interval is None
        else f"seed minus constellation {interval[0]:+.3f} to {interval[1]:+.3f} bits per byte "
        "(95 %) · "
    )
    return (
        f"\nheld out: {held_out['num_documents']} documents, {held_out['num_bytes']:,} bytes · "
        f"{gain}".rstrip(" ·")
    )


def figures(held_out: dict[str, Any]) -> "Table":
    """Return a table of held-out bits per byte, one row per domain and one for all text.

    The row of a domain without a long enough document holds a note instead of figures.
    """
    shown = [name for name in MODELS if name in held_out["bits_per_byte"]]
    titles = [*(MODELS[name] for name in shown), "documents", "arrive"]
    made = output_format.table("bits per byte", *titles, numbers=titles)
    for name in held_out.get("unscored", ()):
        least = 2 * held_out["prefix_tokens"]
        made.add_row(name, *("-" for _ in shown), "-", f"no held-out document of {least} tokens")
    rows = [*held_out["domains"].items(), ("all", held_out)] if shown else []
    for name, values in rows:
        bits = [f"{values['bits_per_byte'][model]:.3f}" for model in shown]
        style = "bold" if name == "all" else None
        routed = (str(values["num_documents"]), f"{values['routing_accuracy']:.1%}")
        made.add_row(name, *bits, *routed, style=style)
    return made


def arrivals(held_out: dict[str, Any]) -> str:
    """Return a sentence on how many held-out documents the router gives to their own kernel."""
    shares = {name: values["routing_accuracy"] for name, values in held_out["domains"].items()}
    fewest = min(shares, key=lambda name: shares[name])
    return (
        f"{held_out['routing_accuracy']:.1%} of {held_out['num_documents']} held-out documents "
        f"arrive at their own kernel, routed by their first {held_out['prefix_tokens']} tokens; "
        f"fewest of {fewest}: {shares[fewest]:.1%}"
    )
