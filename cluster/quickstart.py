"""`make run`: train the starter recipe, start the constellation and ask it three questions.

Trains the starter recipe unless its artifacts are there, starts the constellation unless it runs,
asks it three fixed questions, prints replies and routes unedited, and prints the commands to try
next.
"""

import time
from typing import Any

from rich.console import Console
from rich.markup import escape

from cluster import launcher_process
from cluster.cli import progress_lines
from cluster.cli.connection import connect
from cluster.cli.output_format import visible
from cluster.cli.program import run_program
from cluster.cli.train import arrivals, figures
from cluster.state_file import RunState, running
from cluster.training_run import train_recipe
from constellation.client.replies import Reply
from constellation.errors import ConstellationError
from constellation.records import Route
from constellation.settings import Settings, load_settings
from training.progress.live_table import LiveTable
from training.recipe_file import load_recipe

RECIPE = "starter"

QUESTIONS = (
    ("python", "class Stack:\n    def push(self, item):\n        self."),
    ("cpp", "template <typename T>\nclass Stack {\n public:\n  void push(const T&"),
    ("licences", "Permission is hereby granted to use, copy, modify and distribute this software"),
)
"""Domain and text of the three questions. Each text ends within a line, so that a kernel continues
it."""

TOKENS_MAX = 48
TEMPERATURE = 0.5
"""Sampling temperature, below the usual 0.8: replies of small kernels are steadier there."""


def main() -> None:
    """Train, start, ask, and print the commands for going on."""
    console = Console(highlight=False)
    started_s = time.monotonic()
    try:
        settings = load_settings()
        report = _train(settings, console)
        state = _start(settings, console)
        console.print(figures(report["held_out"]))
        console.print(arrivals(report["held_out"]), soft_wrap=True)
        _ask(state, settings, console)
    except ConstellationError as error:
        console.print(f"[red]error:[/] {error}", soft_wrap=True)
        raise SystemExit(1) from error
    except KeyboardInterrupt:
        console.print("stopped; what was trained is kept, the next `make run` resumes from it")
        raise SystemExit(130) from None
    _say_how_to_go_on(state, console)
    console.print(f"\n[dim]{time.monotonic() - started_s:.0f} s in all[/]")


def _train(settings: Settings, console: Console) -> dict[str, Any]:
    with LiveTable(console) as table:
        progress_lines.doing(table.in_words)
        return train_recipe(load_recipe(RECIPE), settings.artifacts, table).report


def _start(settings: Settings, console: Console) -> RunState:
    state = running(settings.run_dir)
    if state is None:
        with progress_lines.step("starting the kernels, a router and a registry"):
            state = launcher_process.start(settings)
    console.print(f"\n[bold]{len(state.kernels)} kernels serve at {state.endpoint}[/]")
    if state.http is not None:
        console.print(f"OpenAI's clients: {state.http}")
        console.print(f"page, where one sees routes: {state.http.removesuffix('v1')}")
    return state


def _ask(state: RunState, settings: Settings, console: Console) -> None:
    with connect(settings, state.endpoint) as stars:
        console.print(
            "\nThree questions. Each goes to the kernel whose training text lies nearest to it "
            "(distances in radians, from 0 to 3.14).",
            soft_wrap=True,
        )
        for domain, question in QUESTIONS:
            reply = stars.ask(
                question, tokens_max=TOKENS_MAX, temperature=TEMPERATURE, seed=0, explain=True
            )
            _print_reply(domain, question, reply, console)


def _print_reply(domain: str, question: str, reply: Reply, console: Console) -> None:
    route = reply.route
    console.print(f"\n[bold]A question of {domain}:[/]")
    console.print(escape(question), soft_wrap=True)
    console.print(f"[bold cyan]{route.kernel} goes on:[/]")
    console.print(f"[green]{escape(visible(reply.text.rstrip()))}[/]", soft_wrap=True)
    console.print(f"[dim]{escape(route_in_words(route))}[/]", soft_wrap=True)


def route_in_words(route: Route) -> str:
    """Return why a kernel answers: how far the nearest kernels are, and which tokens count most."""
    shown = ", ".join(f"{each.kernel} {each.distance:.2f}" for each in route.choices[:4])
    words = ", ".join(repr(influence.text) for influence in route.influences)
    return (
        f"why {route.kernel}: {route.reason}; distances: {shown}; tokens that count most: {words}"
    )


def _say_how_to_go_on(state: RunState, console: Console) -> None:
    console.print(
        "\nThe constellation keeps running in the background. Ask it, inspect it, stop it:\n"
        "  .venv/bin/constellation ask 'def read_header(self):'\n"
        "  .venv/bin/constellation route 'the Riemann zeta function' --explain\n"
        "  .venv/bin/constellation status\n"
        "  .venv/bin/constellation down"
    )


if __name__ == "__main__":
    run_program("make run", main)
