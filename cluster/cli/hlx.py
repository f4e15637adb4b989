"""The commands `hlx encode|decode|convert|validate`: HLX data in its binary and text forms."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from cluster.cli import options, output_format
from cluster.cli.command_groups import FlagGroup
from constellation.errors import InvalidRequest, MessageTooLarge

app = typer.Typer(
    cls=FlagGroup,
    no_args_is_help=True,
    help="Encode, decode, convert and validate HLX data: one value model with a binary form, "
    "several text forms, and English.",
)
"""Typer application of this group of commands."""


class FormName(StrEnum):
    """Forms of HLX that a user may choose from."""

    LCB = "lcb"
    LCT = "lct"
    LCT_STREAM = "lct-stream"
    BRACKET_HEX = "bracket-hex"
    LCR = "lcr"
    HLXL = "hlxl"
    HLXL_LS = "hlxl-ls"
    HLX = "hlx"
    HLX_LS = "hlx-ls"
    ENGLISH = "english"


Text = Annotated[
    str,
    typer.Argument(
        help='The text, in quotes; "-" reads the text from standard input. A text that begins '
        "with a minus goes behind two minuses: -- -100."
    ),
]
Source = Annotated[
    FormName,
    typer.Option("--from", help="Form of the text; lcb is the binary form as hexadecimal digits."),
]
Target = Annotated[
    FormName,
    typer.Option("--to", help="Form to write; lcb is the binary form as hexadecimal digits."),
]


@app.command("encode")
def encode(
    text: Text,
    source: Source = FormName.LCT,
    as_json: Annotated[bool, options.json_flag("the text that was written")] = False,
) -> None:
    """Write a value in the binary form LC-B, as hexadecimal digits.

    Example: constellation hlx encode '{C:14,0=42}'
    """
    _print_converted(text, source, FormName.LCB, as_json=as_json)


@app.command("decode")
def decode(
    data: Annotated[
        str,
        typer.Argument(
            help='The binary form LC-B as hexadecimal digits; "-" reads standard input.'
        ),
    ],
    target: Target = FormName.LCT,
    as_json: Annotated[bool, options.json_flag("the text that was written")] = False,
) -> None:
    """Write a value from its binary form LC-B in a text form.

    Example: constellation hlx decode '07 0e 07 00 01 2a 08 08' --to lcr
    """
    _print_converted(data, FormName.LCB, target, as_json=as_json)


@app.command("convert")
def convert(
    text: Text,
    source: Source,
    target: Target,
    as_json: Annotated[bool, options.json_flag("the text that was written")] = False,
) -> None:
    """Write a value from one form in another form.

    Example: constellation hlx convert 'Search for documents' --from english --to lct
    """
    _print_converted(text, source, target, as_json=as_json)


@app.command("validate")
def validate(
    text: Text,
    source: Source = FormName.LCT,
    as_json: Annotated[
        bool, options.json_flag("kind, size, handle and number of checked contracts")
    ] = False,
) -> None:
    """Check that a text is canonical and that known contracts in it have their fields.

    A canonical text is the one text that a value has in a form. Fails with one line that names the
    kind of mistake, its place, and what is valid there.

    Example: constellation hlx validate '🜊14🜁0 42🜂' --from lcr
    """
    from constellation.curricula.hlx.content_store import handle_of
    from constellation.curricula.hlx.contract_registry import check_contracts
    from constellation.curricula.hlx.latent_space_text import handle_tag
    from constellation.curricula.hlx.lc_binary import encode as encode_binary
    from constellation.curricula.hlx.text_forms import validate as validate_text

    value = validate_text(_given(text), str(source))
    facts = {
        "kind": handle_tag(value),
        "size_bytes": len(encode_binary(value)),
        "handle": handle_of(value).text,
        "num_contracts": check_contracts(value),
    }
    if as_json:
        output_format.print_json(facts)
        return
    print(
        f"valid: {facts['kind']}, {facts['size_bytes']} bytes of LC-B, "
        f"known contracts: {facts['num_contracts']}, {facts['handle']}"
    )


def _print_converted(text: str, source: FormName, target: FormName, *, as_json: bool) -> None:
    from constellation.curricula.hlx.text_forms import convert as convert_text

    written = convert_text(_given(text), str(source), str(target))
    if as_json:
        output_format.print_json({"from": str(source), "to": str(target), "text": written})
    else:
        print(written)


def _given(argument: str) -> str:
    """Return the text of an argument, or standard input for "-" without its last line feed."""
    from constellation.curricula.hlx.values import TEXT_MAX

    if argument != "-":
        return argument
    limit_bytes = 4 * TEXT_MAX
    data = sys.stdin.buffer.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise MessageTooLarge(limit_bytes=limit_bytes, what="text")
    try:
        return data.decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise InvalidRequest("standard input", data[:40], "UTF-8 text") from error
