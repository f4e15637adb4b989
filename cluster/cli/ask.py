"""The command `ask`: sends one text to a constellation and prints the streamed continuation.

The continuation goes to standard output, everything else to standard error.
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli import options, output_format
from cluster.cli.connection import configuration, connect, read_text

if TYPE_CHECKING:
    from constellation.client import Client, Reply


def ask(
    text: options.Text,
    kernel: options.Kernel = None,
    rule: options.Rule = None,
    mode: options.Mode = options.ModeName.NEAREST,
    top_k: options.TopK = None,
    tokens_max: options.TokensMax = None,
    temperature: options.Temperature = None,
    seed: options.Seed = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Also print, on standard error, why this kernel was chosen: the distance, "
            "radius and weight of every kernel, and the tokens of the text that decided "
            "most.",
        ),
    ] = False,
    refuse_out_of_domain: options.Refuse = False,
    refuse: options.RefuseShare = None,
    run_dir: options.RunDir = None,
    endpoint: options.Endpoint = None,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = None,
    as_json: Annotated[
        bool, options.json_flag("the reply with its text, finish and route")
    ] = False,
) -> None:
    """Continue a text: the kernel nearest to the text writes on, and the reply is streamed.

    Needs a running constellation. The reply goes to standard output as it is written; one line
    that names the kernel and the reason goes to standard error.

    Example: constellation ask 'import asyncio' --tokens-max 64 --explain
    """
    asked: dict[str, Any] = {
        "tokens_max": tokens_max,
        "temperature": temperature,
        "seed": seed,
        "kernel": kernel,
        "rule": rule,
        "mode": mode,
        "top_k": top_k,
        "explain": explain,
        "refuse_out_of_domain": refuse_out_of_domain,
        "refuse": refuse,
    }
    settings = configuration(run_dir=run_dir, token_file=token_file)
    with connect(settings, endpoint, timeout) as client:
        if as_json:
            output_format.print_json(client.ask(read_text(text), **asked))
            return
        reply = print_stream(client, read_text(text), asked)
    console = output_format.stderr()
    if explain:
        output_format.explain(console, reply.route)
    console.print(output_format.route_line(reply.route, reply.finish))


def print_stream(client: "Client", text: str, asked: dict[str, Any]) -> "Reply":
    """Print a reply piece by piece as it is streamed, end its last line, and return the reply."""
    last = ""
    try:
        with client.stream(text, **asked) as stream:
            for piece in stream:
                output_format.print_answer(piece.text)
                last = piece.text or last
            return stream.reply()
    finally:
        if last and not last.endswith("\n"):
            output_format.print_answer("\n")
