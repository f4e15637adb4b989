"""The `constellation` program: registers all commands; turns errors into a line and exit code.

Importing this file is fast: commands import the packages that they need when they run.
"""

import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer

from cluster.cli import (
    ask,
    basin,
    certificates,
    chat,
    coordize,
    data,
    hlx,
    inspect,
    kernel_commands,
    logic,
    logs,
    measure,
    merge,
    releases,
    report,
    route,
    serve_commands,
    status,
    train,
    validate,
    watch,
)
from cluster.cli.command_groups import FlagGroup
from cluster.cli.program import EXIT_FAILED, EXIT_INTERRUPTED, run_program
from cluster.subprocesses import keep_others_from_writing
from constellation.errors import ConfigError, ConstellationError

EXIT_CONFIG = 2
"""Exit code of a wrong option, setting or recipe."""


class ErrorsAsLines(FlagGroup):
    """Prints a `ConstellationError` as one line on standard error; lets other errors pass."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; turn its errors into a line and an exit code."""
        try:
            return super().invoke(ctx)
        except ConstellationError as error:
            # One line, whatever the message holds: scripts read it.
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            code = EXIT_CONFIG if isinstance(error, ConfigError) else EXIT_FAILED
            raise typer.Exit(code) from error
        except KeyboardInterrupt as error:
            print(file=sys.stderr)  # the shell's prompt begins on a line of its own
            raise typer.Exit(EXIT_INTERRUPTED) from error


app = typer.Typer(
    cls=ErrorsAsLines,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train, host and serve many small language models (kernels) as one service: each text is "
    "answered by the kernel whose domain is nearest to it.",
    epilog="First steps: constellation train starter && constellation up && constellation ask "
    "'import asyncio'",
)
for command in (
    serve_commands.up,
    serve_commands.down,
    status.status,
    logs.logs,
    serve_commands.reload,
    serve_commands.rebalance,
    watch.watch,
    ask.ask,
    chat.chat,
    route.route,
    train.train,
    kernel_commands.add,
    kernel_commands.remove,
    kernel_commands.spawn,
    kernel_commands.sources,
    kernel_commands.unlearn,
    report.report,
    validate.validate,
    merge.merge,
    measure.measure_beta,
    certificates.certificates,
    inspect.plan,
    inspect.doctor,
):
    app.command()(command)
app.add_typer(basin.app, name="basin")
app.add_typer(coordize.app, name="coordize")
app.add_typer(data.app, name="data")
app.add_typer(hlx.app, name="hlx")
app.add_typer(logic.app, name="logic")
app.add_typer(releases.app, name="releases")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"constellation {version('constellation-runtime')}")
        raise typer.Exit


@app.callback()
def _root(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version of constellation and exit.",
            callback=_show_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line with the arguments of this process."""
    keep_others_from_writing()
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    run_program(f"constellation {command}".strip(), lambda: app(prog_name="constellation"))


if __name__ == "__main__":
    main()
