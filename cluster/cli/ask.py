"""`ask`: one answer, streamed. The answer goes to standard output, everything else beside it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli import options, output_format
from cluster.cli.connection import configuration, connect, read_text, routing_options

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
    explain: Annotated[bool, typer.Option("--explain", help="Show the whole route.")] = False,
    refuse_out_of_domain: options.Refuse = False,
    refuse: options.RefuseShare = None,
    run_dir: options.RunDir = None,
    endpoint: options.Endpoint = None,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = None,
    as_json: options.AsJson = False,
) -> None:
    """Continue a text; the answer appears as it is written, the route on standard error.

    Example: constellation ask 'import asyncio' --tokens-max 64 --explain
    """
    asked = {
        "tokens_max": tokens_max,
        "temperature": temperature,
        "seed": seed,
        **routing_options(
            kernel=kernel,
            rule=rule,
            mode=mode,
            top_k=top_k,
            explain=explain,
            refuse_out_of_domain=refuse_out_of_domain,
            refuse=refuse,
        ),
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
    """Print an answer as it comes and end its last line; return the whole of it."""
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
