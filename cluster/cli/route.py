"""The command `route`: shows which kernel would answer a text, and why, without asking a kernel."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli import options, output_format
from cluster.cli.connection import configuration, connect, read_text


def route(
    text: options.Text,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Also list the tokens of the text that decided most: those that moved the "
            "text's basin (its point on the probability simplex) farthest.",
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="PNG file to draw a picture into: every kernel's distance and radius, and the "
            "basins (points on the probability simplex) of the text and the kernels.",
        ),
    ] = None,
    kernel: options.Kernel = None,
    without: options.Without = None,
    rule: options.Rule = None,
    mode: options.Mode = options.ModeName.NEAREST,
    top_k: options.TopK = None,
    refuse_out_of_domain: options.Refuse = False,
    refuse: options.RefuseShare = None,
    run_dir: options.RunDir = None,
    endpoint: options.Endpoint = None,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = None,
    as_json: Annotated[
        bool,
        options.json_flag("the route decision, with every kernel's distance, radius and weight,"),
    ] = False,
) -> None:
    """Show which kernel would answer a text, and why; no kernel is asked.

    Needs a running constellation. Prints one row per kernel: its distance from the text, the
    radius of its domain (a text farther away is out of domain) and its weight; then the margin,
    by which the second-nearest kernel is farther away. All but the weight are in radians.

    To see what would change without a kernel, leave it out by --without NAME.

    Example: constellation route 'import asyncio' --explain --plot route.png
    """
    query = read_text(text)
    settings = configuration(run_dir=run_dir, token_file=token_file)
    with connect(settings, endpoint, timeout) as client:
        decided = client.route(
            query,
            kernel=kernel,
            rule=rule,
            mode=mode,
            top_k=top_k,
            explain=explain,
            refuse_out_of_domain=refuse_out_of_domain,
            refuse=refuse,
            without=tuple(without or ()),
        )
        if plot is not None:
            from cluster.cli.plot import save_route_plot

            basins = {kernel.name: kernel.basin_K for kernel in client.status().kernels}
            save_route_plot(plot, decided, query, client.basin(query).basin_K, basins)
    if as_json:
        output_format.print_json({**asdict(decided), "plot": None if plot is None else str(plot)})
        return
    console = output_format.stdout()
    output_format.explain(console, decided)
    if plot is not None:
        console.print(f"plot written to {plot}")
