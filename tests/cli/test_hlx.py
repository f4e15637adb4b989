"""`hlx`: encode, decode, convert and validate HLX data, without a running constellation."""

import json

import pytest

from cluster.cli.hlx import FormName
from constellation.curricula.hlx.text_forms import FORMS
from tests.cli.conftest import Run


def test_a_value_is_encoded_and_decoded(run: Run) -> None:
    assert run("hlx", "encode", "{C:14,0=42}").stdout == "07 0e 07 00 01 2a 08 08\n"
    assert run("hlx", "decode", "07 0e 07 00 01 2a 08 08").stdout == "{C:14,0=42}\n"
    assert run("hlx", "decode", "0a", "--to", "lcr").stdout == "⊤\n"
    assert run("hlx", "encode", "--from", "hlxl", "--", "-1").stdout.startswith("01 ff ")


def test_a_text_is_converted(run: Run) -> None:
    arguments = ("hlx", "convert", "Search for documents", "--from", "english", "--to", "lct")
    assert run(*arguments).stdout == '{C:1000,0="search",1=@documents}\n'
    written = json.loads(run(*arguments, "--json").stdout)
    assert written == {
        "from": "english",
        "to": "lct",
        "text": '{C:1000,0="search",1=@documents}',
    }


def test_a_text_is_read_from_standard_input(run: Run) -> None:
    assert run("hlx", "encode", "-", typed="42\n").stdout == "01 2a\n"
    assert run("hlx", "encode", "-", typed="42\n\n").exit_code == 1
    failed = run("hlx", "encode", "-", typed=b"\xff")
    assert (failed.exit_code, "UTF-8" in failed.stderr) == (1, True)


def test_a_valid_text_is_described(run: Run) -> None:
    digest = "0a1ef5a1717e5aa3edf21fc73c4468ac325e7a9a41254691f0d31b4ece041ebe"
    handle = f"&h_contract14_{digest}"
    arguments = ("hlx", "validate", "🜊14🜁0 42🜂", "--from", "lcr")
    line = f"valid: contract14, 8 bytes of LC-B, known contracts: 1, {handle}\n"
    assert run(*arguments).stdout == line
    assert json.loads(run(*arguments, "--json").stdout) == {
        "kind": "contract14",
        "size_bytes": 8,
        "handle": handle,
        "num_contracts": 1,
    }


@pytest.mark.parametrize(
    ("text", "form", "message"),
    [
        ("🐊14🐁0 42🐂", "lcr", "error: E_UNKNOWN_GLYPH at character 0: expected a value"),
        ("01 aa 00", "lcb", "error: E_OVERLONG at byte 1: expected the shortest form of a number"),
        ("{@0:  1}", "hlxl", "error: E_SYNTAX_ERROR at character 5: expected the canonical text"),
        ("{C:14,0=1.5}", "lct", "error: E_CONTRACT_FIELD_TYPE: expected int in field @0 (value)"),
    ],
)
def test_an_invalid_text_is_one_line_with_its_place(
    run: Run, text: str, form: str, message: str
) -> None:
    result = run("hlx", "validate", text, "--from", form)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


def test_the_flags_offer_the_forms_of_the_library() -> None:
    assert [str(name) for name in FormName] == list(FORMS)
