"""The text forms: worked examples, round trips between all pairs of forms, and refusals."""

import random
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from constellation.curricula.hlx.lc_binary import canonical, encode
from constellation.curricula.hlx.number_words import number_of_words
from constellation.curricula.hlx.text_forms import (
    FORMS,
    convert,
    decode_text,
    encode_text,
    validate,
)
from constellation.curricula.hlx.values import Handle
from constellation.errors import ConfigError, HlxError
from tests.curricula.hlx.random_values import values
from tests.curricula.hlx.worked_examples import EXAMPLES, Example


def texts_of(each: Example) -> dict[str, str]:
    return {
        "english": each.english,
        "hlxl": each.hlxl,
        "hlxl-ls": f"ls.collapse({each.hlxl})",
        "hlx": each.hlx,
        "hlx-ls": f"collapse({each.hlx})",
        "lct": each.compact,
        "lct-stream": each.stream,
        "lcr": each.runic,
        "lcb": each.binary,
    }


@pytest.mark.parametrize("each", EXAMPLES, ids=lambda each: each.english)
def test_the_worked_examples_in_all_forms(each: Example) -> None:
    for form, text in texts_of(each).items():
        assert encode_text(each.value, form) == text
        assert encode(validate(text, form)) == encode(each.value)


@pytest.mark.parametrize("source", FORMS)
@pytest.mark.parametrize("target", FORMS)
def test_the_worked_examples_convert_between_all_pairs_of_forms(source: str, target: str) -> None:
    for each in EXAMPLES:
        texts = {"bracket-hex": encode_text(each.value, "bracket-hex"), **texts_of(each)}
        assert convert(texts[source], source, target) == texts[target]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[0x2a]", 42),
        ("[-0x64]", -100),
        ("[0x0100]", 256),
        ("[_]", None),
        ("[T]", True),
        ("[F]", False),
        ('["hello"]', "hello"),
        ("[&ast]", Handle("&h_ast")),
        ("[14|0:0x2a]", {14: {0: 42}}),
        ("[14|]", {14: {}}),
        ("[[0x01,0x02]]", (1, 2)),
        ("[{x:0x0a}]", {"x": 10}),
        ("[{0:0x0a}]", {0: 10}),
        ("[{}]", {}),
        ("[[]]", ()),
        ("[{0:{14|0:0x01}}]", {0: {14: {0: 1}}}),
        ("[{14:0x01,15:[]}]", {14: 1, 15: ()}),
        ("[#00ff]", b"\0\xff"),
        ("[1.5]", 1.5),
    ],
)
def test_bracket_hex_as_it_is_specified(text: str, value: Any) -> None:
    assert encode_text(value, "bracket-hex") == text
    assert encode(validate(text, "bracket-hex")) == encode(value)


@pytest.mark.parametrize(
    ("form", "text", "value"),
    [
        ("lct", '{"C":1}', {"C": 1}),
        ("lct", '{B:1,"C":2}', {"B": 1, "C": 2}),
        ("lct", "{C:14}", {14: {}}),
        ("lct", "{0=1,14={a:2}}", {0: 1, 14: {"a": 2}}),
        ("lct", "{14={a:2}}", {14: {"a": 2}}),
        ("lct", "{0={1=2}}", {0: {1: 2}}),
        ("lct", r'"\u00e9\ud83d\ude42"', "é🙂"),
        ("lct", "[TRUE]", (True,)),
        ("lct-stream", "[TRUE]", True),
        ("lct", "1e+16", 1e16),
        ("lct", "5e-324", 5e-324),
        ("lcr", "🜊🜁0 1🜂", {0: 1}),
        ("lcr", "🜊14🜂", {14: {}}),
        ("lcr", "◇◆", {}),
        ("lcr", '"🜂é"', "🜂é"),
        ("lcr", "🜊0🜁0 1🜂", None),
        ("hlxl", "{@14: {a: 1}}", {14: {"a": 1}}),
        ("hlxl", "{14: {}}", {14: {}}),
        ("hlxl", "{@0: {@1: 1}}", {0: {1: 1}}),
        ("hlx", '{"@0": 1, "@1": []}', {0: 1, 1: ()}),
        ("english", "List of 'a b'", ("a b",)),
        ("english", 'Represent the list (the text "it\'s")', ("it's",)),
        ("english", "Represent the hexadecimal bytes 27", b"'"),
        ("english", "Represent the integer 1000", 1000),
        ("english", "Integer literal minus nine hundred and ninety-nine", {14: {0: -999}}),
    ],
)
def test_canonical_texts_of_special_values(form: str, text: str, value: Any) -> None:
    if value is None:
        with pytest.raises(HlxError, match="E_CONTRACT_STRUCTURE"):
            decode_text(text, form)
        return
    assert encode_text(value, form) == text
    assert encode(validate(text, form)) == encode(value)


@pytest.mark.parametrize(
    ("form", "text", "value"),
    [
        ("english", "Represent the integer -100", -100),
        ("hlxl", " { 14 :\n{ @0 : 42 } } ", {14: {0: 42}}),
        ("hlx", '{ "age" : 30 }', {"age": 30}),
        ("hlxl-ls", "ls.collapse int 42", 42),
        ("hlxl-ls", "ls.collapse contract14 {14: {@0: 42}}", {14: {0: 42}}),
        ("lct", "{14={0=42}}", {14: {0: 42}}),
        ("lct", "1.50", 1.5),
        ("lct", "-0.0", 0.0),
        ("lct", '"\\u0061"', "a"),
        ("lct", '{C:3,0=0,1=[{C:2,0=0,1="a",2=5}]}', {"a": 5}),
        ("lcb", "0102", None),
    ],
)
def test_texts_that_mean_a_value_and_are_not_canonical(form: str, text: str, value: Any) -> None:
    if value is None:
        value = 2
    assert encode(decode_text(text, form)) == encode(value)
    with pytest.raises(HlxError, match="expected the canonical text"):
        validate(text, form)


REFUSED = [
    ("lcr", "🐊14🐁0 42🐂", "E_UNKNOWN_GLYPH", 0),
    ("lcr", "🜊14🐁0 42🜂", "E_UNKNOWN_GLYPH", 3),
    ("lcr", "🜊14🜁0 42", "E_LC_PARSE", 8),
    ("lcr", "🜊14🜁0  42🜂", "E_LC_PARSE", 6),
    ("lcr", "🜊🜂", "E_LC_PARSE", 1),
    ("lcr", "🜃1,2🜄", "E_LC_PARSE", 2),
    ("lcr", "🜇", "E_UNKNOWN_GLYPH", 0),
    ("lct", "[1, 2]", "E_LC_PARSE", 3),
    ("lct", "1 ", "E_TRAILING", 1),
    ("lct", "", "E_LC_PARSE", 0),
    ("lct", '"é"', "E_LC_PARSE", 1),
    ("lct", r'"e\u0301"', "E_LC_PARSE", 0),
    ("lct", r'"\r"', "E_LC_PARSE", 0),
    ("lct", r'"\ud800"', "E_LC_PARSE", 0),
    ("lct", '"\n"', "E_LC_PARSE", 0),
    ("lct", "-0", "E_LC_PARSE", 0),
    ("lct", "01", "E_LC_PARSE", 0),
    ("lct", "9223372036854775808", "E_LC_PARSE", 0),
    ("lct", "1e999", "E_FLOAT_SPECIAL", 0),
    ("lct", "#6", "E_TRAILING", 1),
    ("lct", "#FF", "E_TRAILING", 1),
    ("lct", "@", "E_HANDLE_FORMAT", 1),
    ("lct", "{b:1,a:2}", "E_FIELD_ORDER", 5),
    ("lct", "{a:1,a:2}", "E_DUPLICATE_KEY", 5),
    ("lct", "{1=1,0=2}", "E_FIELD_ORDER", 5),
    ("lct", "{0=1,0=2}", "E_DUPLICATE_KEY", 5),
    ("lct", "{8=1}", "E_FIELD_RESERVED", 1),
    ("lct", '{"a":1}', "E_LC_PARSE", 4),
    ("lct", "{B:1,C:2}", "E_LC_PARSE", 6),
    ("lct", "{C:0,0=1}", "E_CONTRACT_STRUCTURE", 3),
    ("lct", "{a:1", "E_LC_PARSE", 4),
    ("lct", "null", "E_LC_PARSE", 0),
    ("lct-stream", "[1,2]", "E_LC_PARSE", 1),
    ("lct-stream", "[INT(1.5)]", "E_LC_PARSE", 5),
    ("lct-stream", "[FLOAT(1)]", "E_LC_PARSE", 7),
    ("lct-stream", "[ARR_START, INT(1)]", "E_LC_PARSE", 18),
    ("lct-stream", '[OBJ_START, FIELD_0, INT(1), KEY("a"), INT(1), OBJ_END]', "E_LC_PARSE", 29),
    ("lct-stream", "[INT(1), INT(2)]", "E_LC_PARSE", 7),
    ("bracket-hex", "[0x1]", "E_LC_PARSE", 1),
    ("bracket-hex", "[42]", "E_LC_PARSE", 1),
    ("bracket-hex", "[0x002a]", "E_LC_PARSE", 1),
    ("bracket-hex", "[-0x00]", "E_LC_PARSE", 1),
    ("bracket-hex", "[14|0:0x2a", "E_LC_PARSE", 1),
    ("hlxl", "{a: 1, }", "E_SYNTAX_ERROR", 7),
    ("hlxl", "{14: {a: 1}}", "E_SYNTAX_ERROR", 6),
    ("hlxl", "NULL", "E_SYNTAX_ERROR", 0),
    ("hlx", '"&h_a b"', "E_HANDLE_FORMAT", 0),
    ("hlx", '{" a": 1}', "E_SYNTAX_ERROR", 2),
    ("hlx", "{14: {@0: 42}}", "E_SYNTAX_ERROR", 6),
    ("hlxl-ls", "ls.collapse text 42", "E_SYNTAX_ERROR", 12),
    ("hlxl-ls", "ls.resolve(&h_ast)", "E_SYNTAX_ERROR", 0),
    ("hlx-ls", "collapse(42", "E_SYNTAX_ERROR", 11),
    ("english", "Represent everything", "E_SYNTAX_ERROR", 10),
    ("english", "represent true", "E_SYNTAX_ERROR", 0),
    ("english", "Represent true.", "E_TRAILING", 14),
    ("english", "Represent the integer one hundred one", "E_SYNTAX_ERROR", 22),
    ("lcb", "01 AA", "E_LC_PARSE", 2),
    ("lcb", "0", "E_LC_PARSE", 0),
    ("lcb", "01 aa 00", "E_OVERLONG", 1),
]


@pytest.mark.parametrize(("form", "text", "code", "position"), REFUSED)
def test_what_breaks_a_grammar_is_refused_with_its_place(
    form: str, text: str, code: str, position: int
) -> None:
    with pytest.raises(HlxError) as caught:
        decode_text(text, form)
    assert (caught.value.code, caught.value.position) == (code, position), str(caught.value)


def test_hlx_cannot_show_a_text_that_begins_like_a_handle() -> None:
    for form in ("hlx", "hlx-ls"):
        with pytest.raises(HlxError, match="E_HANDLE_FORMAT"):
            encode_text(("&h_ast",), form)
    assert decode_text('"&h_ast"', "hlx") == Handle("&h_ast")
    assert decode_text('"&h_ast"', "hlxl") == "&h_ast"


def test_a_form_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match="'json'; there are: lcb, lct, "):
        decode_text("1", "json")


def has_handle_like_text(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(map(has_handle_like_text, value))
    if isinstance(value, dict):
        return any(map(has_handle_like_text, value.values()))
    return isinstance(value, str) and value.startswith("&h_")


@pytest.mark.slow
@given(values)
@settings(max_examples=150)
def test_random_values_convert_between_all_pairs_of_forms(value: Any) -> None:
    assume(not has_handle_like_text(value))
    texts = {form: encode_text(value, form) for form in FORMS}
    for source, text in texts.items():
        assert encode(validate(text, source)) == encode(value)
        for target in FORMS:
            assert convert(text, source, target) == texts[target]


def changed(text: str, generator: random.Random, alphabet: str) -> str:
    """Return a text with one to three characters replaced, inserted or left out."""
    for _ in range(generator.randint(1, 3)):
        place = generator.randrange(len(text) + 1)
        new = generator.choice(["", generator.choice(alphabet)])
        text = text[:place] + new + text[place + generator.randint(0, 1) :]
    return text


@pytest.mark.parametrize("form", FORMS)
def test_changed_texts_are_values_or_refused(form: str) -> None:
    generator = random.Random(form)
    originals = [encode_text(each.value, form) for each in EXAMPLES]
    alphabet = "".join(originals) + "\0\ud800é0189"
    accepted = refused = 0
    for _ in range(1_000):
        text = changed(generator.choice(originals), generator, alphabet)
        try:
            value = decode_text(text, form)
        except HlxError:
            refused += 1
        else:
            assert encode(canonical(value)) == encode(value)
            assert validate(encode_text(value, form), form) == value
            accepted += 1
    assert accepted
    assert refused


@given(st.sampled_from(sorted(FORMS)), st.text(max_size=30))
def test_random_texts_are_values_or_refused(form: str, text: str) -> None:
    try:
        value = decode_text(text, form)
    except HlxError:
        return
    assert encode_text(value, form)


def test_a_long_list_has_a_sentence_without_a_template() -> None:
    value = (1,) * 4_000
    text = encode_text(value, "english")
    assert text.startswith("Represent the list (the integer one, ")
    assert validate(text, "english") == value


def test_number_words_are_reversible() -> None:
    assert len(number_of_words()) == 1_999
    assert number_of_words()["minus one hundred"] == -100
    assert number_of_words()["forty-two"] == 42
    assert number_of_words()["nine hundred and five"] == 905
